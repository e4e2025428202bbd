//! What every look promises, asked by an office about a desk that is another user's: nothing of it could be opened here.

use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tinyclaw_domain::{Place, ThreadId};
use tinyclaw_engine::link::{LinkLook, WardenCarrier};
use tinyclaw_engine::testing::looks::{self, Ground};
use tinyclaw_engine::{Desk, EngineConfig, Look};

use crate::den::ours;
use crate::warden::House;

/// A desk of the house, laid open to the cases.
async fn ground(house: &House) -> Ground {
    let (desk, root) = (house.desk(1), house.folder(1));
    let (home, state) = (root.join("home"), house.path("state"));
    let config = EngineConfig::new(house.path("bin/agent"), ours("tinyclaw-leash"), state, &home);
    let carrier = Arc::new(WardenCarrier::of(&config, house.client.clone(), desk));
    let look = Arc::new(LinkLook::new("ada", carrier, Some(home.clone())));
    // Whoever answers has made what a desk has in its folder.
    look.unconfined(&Place::Here).await.expect("a hub");
    let beside = house.path("beside");
    for dir in [&root.join("work/site"), &beside] {
        std::fs::create_dir_all(dir).expect("a folder");
    }
    let settle = move || give(&root, desk.user());
    settle();
    let desk = Desk::here(&ThreadId::topic(1), house.folder(1).join("work/site"));
    Ground { look, desk, home, beside, settle: Box::new(settle) }
}

fn give(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).expect("given");
    if path.symlink_metadata().is_ok_and(|it| it.is_dir()) {
        let below: Vec<PathBuf> =
            std::fs::read_dir(path).expect("listed").flatten().map(|it| it.path()).collect();
        below.iter().for_each(|it| give(it, user));
    }
}

macro_rules! as_a_user_of_its_own {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() {
            let Some(house) = House::open(stringify!($name)) else { return };
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let ground = ground(&house).await;
                looks::$name(&ground).await;
            });
            house.client.end(house.desk(1)).expect("ended");
        })*
    };
}

as_a_user_of_its_own!(
    a_session_is_known_where_its_transcript_lies,
    a_long_answer_is_traced_whole,
    a_transcript_that_is_none_is_not_read,
    directories_are_told_apart,
    a_file_is_found_below_the_directory_only,
    a_file_is_fetched_whole_or_not_at_all,
    a_file_is_brought_whole,
    what_the_leash_cannot_promise_is_told,
);
