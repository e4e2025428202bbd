//! What every engine has to do: the same claims, held to the folders and to the engine in memory. A claim is given a
//! function that makes a new queue and opens it, again and again, as one process after the other would.

mod deaths;
mod edits;
mod given_up;
mod keys;
mod lanes;
mod limits;
mod looks;
mod model;
mod moves;
mod postgres;
mod priorities;
mod retries;

use std::time::Duration;

use tinyclaw_domain::{Channel, Command, Lane, Source};
use tinyclaw_queue::{DEATHS_MAX, LeaseError, Memory, Place, PublishError, SENDER_DEATHS_MAX};

use crate::*;

/// Makes a queue that nobody else has, and gives what opens it.
type Make = fn() -> Open;
type Open = Box<dyn Fn(Options) -> Queue + Send + Sync>;

fn in_folders() -> Open {
    let dir = tempfile::tempdir().unwrap();
    Box::new(move |options| Queue::open(dir.path(), options).unwrap())
}

fn in_process() -> Open {
    let memory = Memory::new();
    Box::new(move |options| Queue::open(memory.clone(), options).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

macro_rules! claims {
    ($($concern:ident: $($claim:ident)*;)*) => {
        mod folders {
            $($(#[test] fn $claim() { super::$concern::$claim(super::in_folders); })*)*
        }

        mod memory {
            $($(#[test] fn $claim() { super::$concern::$claim(super::in_process); })*)*
        }

        /// The same claims by name, for an engine whose beginning costs more than most of them.
        const CLAIMS: &[(&str, fn(Make))] = &[$($((stringify!($claim), $concern::$claim)),*),*];
    };
}

claims! {
    lanes:
        a_message_travels_from_incoming_to_done
        a_fetched_answer_goes_straight_to_done
        a_lane_is_worked_on_one_by_one_and_in_order
        a_lane_has_one_owner_among_processes
        control_waits_for_nothing
        a_waiting_claim_wakes_when_another_process_publishes
        whether_a_lane_has_work_is_known;
    keys:
        a_key_is_published_once
        follow_ups_reach_their_lanes_once
        follow_ups_of_a_dead_owner_are_looked_for_before_they_are_published_again;
    retries:
        a_failed_head_holds_its_lane_until_its_time
        nothing_waits_longer_than_an_hour_and_what_is_put_back_for_no_time;
    deaths:
        a_dropped_lease_is_taken_up_and_counted
        a_death_after_which_the_work_goes_on_is_no_attempt
        an_answer_that_kills_its_sender_is_given_up_in_the_end;
    limits:
        limits_say_what_to_do
        what_was_accepted_has_room_for_the_rest_of_its_life;
    priorities:
        only_one_heartbeat_waits_and_behind_people;
    edits:
        an_edit_changes_a_waiting_message_and_no_other
        an_edit_never_brings_a_claimed_message_back;
    given_up:
        an_operator_gives_up_what_nobody_works_on_and_takes_it_up_again
        what_a_person_stopped_is_counted_as_stopped_and_not_as_given_up
        what_was_given_up_long_ago_is_removed_and_the_rest_stays
        a_message_is_taken_up_or_removed_and_never_both;
    looks:
        a_list_is_the_oldest_of_a_place_in_order_and_the_newest_of_what_is_done
        a_lane_is_listed_in_its_order_and_read_in_one
        many_keys_are_looked_for_in_one_look
        the_last_message_of_a_lane_is_found_by_what_it_says
        what_waits_is_counted_by_lane;
    moves:
        every_move_is_told_with_its_key_and_both_places
        whoever_waits_for_a_key_reads_its_end_without_a_list;
    model:
        every_interleaving_agrees_with_one_list_a_lane;
}
