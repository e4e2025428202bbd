-- Every operation of the queue is one call: one round trip, one transaction. So no transaction waits for a client, and a
-- client that dies holds no row. A function first locks every lane that it touches, in the order of (side, lane), so that
-- two of them never wait for each other. It returns in "told" what others have to hear of; the client says it after the
-- commit, because a notification within the transaction would hold a lock of the whole cluster over its flush.

create or replace function now_us() returns bigint language sql volatile as
$$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

create or replace function ms_of(p_at timestamptz) returns bigint language sql stable as
$$ select floor(extract(epoch from p_at) * 1000)::bigint $$;

-- The advisory lock that a living owner holds. The upper half keeps it apart from other people's.
create or replace function lock_of(p_owner bigint) returns bigint language sql immutable as
$$ select (x'7463'::bigint << 48) | p_owner $$;

-- Where messages of a side wait; one further is where they are worked on. A query says "place in (1, 3)" besides, or the
-- planner does not see that the index of what waits serves it.
create or replace function waits_in(p_side "char") returns smallint language sql immutable as
$$ select (case p_side when 'r' then 1 else 3 end)::smallint $$;

-- What listeners hear of a move: both places, the parts of the name, the lane and the key.
create or replace function move_of(p_from smallint, p_to smallint, m message) returns text language sql stable as
$$ select format('m%s%s %s %s %s %s %s %s', p_from, p_to, m.prio, m.ord, ms_of(m.queued_at), m.not_before, m.lane, m.key) $$;

-- The office, when it is open. Whether its moves are watched.
create or replace function is_watched(p_office int) returns boolean language plpgsql as $$
declare v_office office;
begin
  select * into v_office from office where id = p_office;
  if v_office.closed is not null then
    raise exception using errcode = 'TC001', message = v_office.closed;
  end if;
  return v_office.watched > clock_timestamp();
end $$;

-- Sees to it that a lane has a row, and locks it.
create or replace function lock_lane(p_office int, p_side "char", p_lane text) returns lane language plpgsql as $$
declare v_lane lane;
begin
  select * into v_lane from lane where office = p_office and side = p_side and lane = p_lane for no key update;
  if not found then
    insert into lane (office, side, lane, class)
      values (p_office, p_side, p_lane, case when p_lane like 'c.%' then 'c' else 'o' end::"char")
      on conflict do nothing;
    select * into v_lane from lane where office = p_office and side = p_side and lane = p_lane for no key update;
  end if;
  return v_lane;
end $$;

-- Writes what a locked lane offers next, and with p_freed that nobody holds it. p_more is how many more wait.
-- Returns what claimers have to hear: whether something may be taken earlier than before.
create or replace function settle(v_lane lane, p_more int, p_freed boolean, p_hand text) returns boolean
language plpgsql as $$
declare v_next message; v_ready bigint; v_held bigint := v_lane.held;
begin
  if p_freed then v_held := null; end if;
  if p_hand is not null and v_held is null then
    select * into v_next from message where office = v_lane.office and key = p_hand;
  else
    select * into v_next from message
      where office = v_lane.office and place = waits_in(v_lane.side) and place in (1, 3) and lane = v_lane.lane
      order by prio, ord limit 1;
  end if;
  if v_next.key is not null then
    -- A clock that stepped back makes nobody wait for the time at which a message came in.
    v_ready := least((extract(epoch from v_next.queued_at) * 1000000)::bigint, now_us());
    if v_next.key is distinct from p_hand then
      v_ready := greatest(v_ready, v_next.not_before * 1000);
    end if;
  end if;
  update lane set waiting = waiting + p_more, held = v_held, hand = p_hand, ready = v_ready,
      channel = coalesce(v_next.channel, '')
    where office = v_lane.office and side = v_lane.side and lane = v_lane.lane;
  return v_held is null and v_ready is not null
    and (v_lane.held is not null or v_lane.ready is null or v_ready < v_lane.ready);
end $$;

-- Puts a new message into a locked lane, unless its key is known, or it is a heartbeat beside one that waits there.
create or replace function add_message(v_lane lane, p_channel text, p_key text, p_prio smallint, p_doc text,
  out o_known smallint, out o_wake boolean, out o_row message) language plpgsql as $$
declare v_place smallint := waits_in(v_lane.side); v_at timestamptz := greatest(clock_timestamp(), v_lane.youngest);
begin
  o_wake := false;
  select place into o_known from message where office = v_lane.office and key = p_key;
  if found then return; end if;
  if p_prio > 0 then
    perform from message
      where office = v_lane.office and place = v_place and place in (1, 3) and lane = v_lane.lane and prio = p_prio limit 1;
    if found then o_known := v_place; return; end if;
  end if;
  insert into message (office, key, lane, channel, place, prio, ord, queued_at, moved_at, doc)
    values (v_lane.office, p_key, v_lane.lane, p_channel, v_place, p_prio, nextval('ord'), v_at, clock_timestamp(), p_doc::json)
    on conflict do nothing returning * into o_row;
  if o_row.key is null then
    -- Another publisher of this key was faster, in another lane.
    select place into o_known from message where office = v_lane.office and key = p_key;
    return;
  end if;
  update lane set youngest = v_at where office = v_lane.office and side = v_lane.side and lane = v_lane.lane;
  o_wake := settle(v_lane, 1, false, v_lane.hand);
end $$;

create or replace function publish(p_office int, p_side "char", p_lane text, p_channel text, p_key text, p_prio smallint,
  p_doc text, p_flush boolean, out o_known smallint, out o_waiting int, out o_told text[]) language plpgsql as $$
declare v_watched boolean := is_watched(p_office); v_lane lane; v_added record;
begin
  if not p_flush then perform set_config('synchronous_commit', 'off', true); end if;
  v_lane := lock_lane(p_office, p_side, p_lane);
  select * into v_added from add_message(v_lane, p_channel, p_key, p_prio, p_doc);
  o_known := v_added.o_known;
  o_waiting := v_lane.waiting + (o_known is null)::int;
  if v_added.o_wake then o_told := array_append(o_told, 'w'); end if;
  if o_known is null and v_watched then
    o_told := array_append(o_told, move_of(0::smallint, waits_in(p_side), v_added.o_row));
  end if;
end $$;

-- Takes the head of the free lane whose work is oldest, or what was left behind in it. Without one, o_due says when the
-- next may be taken.
create or replace function claim(p_office int, p_me bigint, p_side "char", p_class "char", p_lane text, p_channel text,
  out o_key text, out o_lane text, out o_turn bigint, out o_recovered boolean, out o_doc text, out o_waiting int,
  out o_due bigint, out o_told text[]) language plpgsql as $$
declare v_watched boolean := is_watched(p_office); v_lane lane; v_row message; v_now bigint := now_us();
begin
  loop
    if p_lane is not null then
      select * into v_lane from lane l
        where l.office = p_office and l.side = p_side and l.lane = p_lane and l.held is null and l.ready <= v_now
        for no key update skip locked;
    else
      select * into v_lane from lane l
        where l.office = p_office and l.side = p_side and l.class = p_class and l.held is null and l.ready <= v_now
          and (p_channel is null or l.channel = p_channel)
          -- What steers a turn goes to whoever has it.
          and (p_class <> 'c' or p_side <> 'r' or not exists (select from lane r
            where r.office = p_office and r.side = 'r' and r.lane = substr(l.lane, 3) and r.held <> p_me))
        order by l.ready limit 1 for no key update skip locked;
    end if;
    if v_lane.lane is null then
      if p_lane is not null then
        select l.ready into o_due from lane l
          where l.office = p_office and l.side = p_side and l.lane = p_lane and l.held is null and l.ready > v_now;
      else
        select l.ready into o_due from lane l
          where l.office = p_office and l.side = p_side and l.class = p_class and l.held is null and l.ready > v_now
            and (p_channel is null or l.channel = p_channel)
          order by l.ready limit 1;
      end if;
      return;
    end if;
    o_recovered := v_lane.hand is not null;
    if o_recovered then
      select * into v_row from message
        where office = p_office and key = v_lane.hand and place = waits_in(p_side) + 1 for no key update;
    else
      select * into v_row from message
        where office = p_office and place = waits_in(p_side) and place in (1, 3) and lane = v_lane.lane
        order by prio, ord limit 1 for no key update;
    end if;
    exit when v_row.key is not null;
    -- Somebody took it away by hand. The lane says what is there.
    update lane set hand = null, waiting = (select count(*) from message
        where office = p_office and place = waits_in(p_side) and place in (1, 3) and lane = v_lane.lane)
      where office = p_office and side = p_side and lane = v_lane.lane returning * into v_lane;
    perform settle(v_lane, 0, false, null);
    v_lane := null;
  end loop;
  -- Whoever was given up has nothing to take: nobody would free it. Its row is locked, so that it is given up before or after.
  perform from owner where id = p_me for key share;
  if not found then
    raise exception using errcode = 'TC002', message = 'others have taken over what this process had';
  end if;
  -- A send begins nothing before its intent is kept, which is flushed. A command begins at once.
  if p_side = 's' then perform set_config('synchronous_commit', 'off', true); end if;
  o_turn := nextval('turn');
  update message set place = waits_in(p_side) + 1, held = p_me, turn = o_turn, rev = rev + 1, moved_at = clock_timestamp()
    where office = p_office and key = v_row.key;
  update lane set held = p_me, turn = o_turn, hand = v_row.key, waiting = waiting - (not o_recovered)::int
    where office = p_office and side = p_side and lane = v_lane.lane returning waiting into o_waiting;
  o_key := v_row.key;
  o_lane := v_row.lane;
  o_doc := v_row.doc::text;
  if v_watched and not o_recovered then
    o_told := array[move_of(v_row.place, (v_row.place + 1)::smallint, v_row)];
  end if;
end $$;

-- Keeps a state of a message in hand. False when it is in hand no more.
create or replace function save(p_office int, p_me bigint, p_key text, p_turn bigint, p_doc text, p_flush boolean)
returns boolean language plpgsql as $$
begin
  if not p_flush then perform set_config('synchronous_commit', 'off', true); end if;
  update message set doc = p_doc::json, rev = rev + 1
    where office = p_office and key = p_key and held = p_me and turn = p_turn;
  return found;
end $$;

-- Moves a message in hand to where it belongs now, and frees its lane; before that, publishes what it sends on.
-- p_delay: ms before which it is not to be tried; null for none. p_flush: whether the end alone has to survive a crash.
create or replace function finish(p_office int, p_me bigint, p_side "char", p_lane text, p_key text, p_turn bigint,
  p_to smallint, p_reason text, p_delay bigint, p_lanes text[], p_channels text[], p_keys text[], p_docs text[], p_flush boolean,
  out o_ours boolean, out o_waiting int, out o_told text[]) language plpgsql as $$
declare
  v_watched boolean; v_row message; v_lane lane; v_from smallint := waits_in(p_side) + 1; v_side "char"; v_text text;
  v_added record; v_back boolean := p_to = waits_in(p_side);
begin
  select watched > clock_timestamp() into v_watched from office where id = p_office;
  if not p_flush then perform set_config('synchronous_commit', 'off', true); end if;
  for v_side, v_text in
    select it.side, it.lane from (
      select p_side as side, p_lane as lane
      union select 's', p_lane where p_to = 3
      union select 'r', unnest(p_lanes)) as it
    order by it.side, it.lane collate "C"
  loop
    v_lane := lock_lane(p_office, v_side, v_text);
  end loop;
  select * into v_row from message where office = p_office and key = p_key for no key update;
  if v_row.turn is distinct from p_turn or v_row.held is distinct from p_me then
    -- Asked again, because the answer to the first time was lost.
    o_ours := coalesce(v_row.turn = p_turn and v_row.held is null and v_row.place = p_to, false);
    select waiting into o_waiting from lane where office = p_office and side = p_side and lane = p_lane;
    return;
  end if;
  o_ours := true;
  for i in 1 .. coalesce(array_length(p_keys, 1), 0) loop
    v_lane := lock_lane(p_office, 'r', p_lanes[i]);
    select * into v_added from add_message(v_lane, p_channels[i], p_keys[i], 0::smallint, p_docs[i]);
    if v_added.o_wake then o_told := array_append(o_told, 'w'); end if;
    if v_added.o_known is null and v_watched then
      o_told := array_append(o_told, move_of(0::smallint, 1::smallint, v_added.o_row));
    end if;
  end loop;
  update message set place = p_to, held = null, moved_at = clock_timestamp(), rev = rev + 1, reason = p_reason,
      not_before = case when not v_back then not_before
        else greatest(not_before + 1, coalesce(now_us() / 1000 + p_delay, 0)) end
    where office = p_office and key = p_key returning * into v_row;
  if p_to = 3 and p_side = 'r' then
    v_lane := lock_lane(p_office, 's', p_lane);
    if settle(v_lane, 1, false, v_lane.hand) then o_told := array_append(o_told, 'w'); end if;
  end if;
  v_lane := lock_lane(p_office, p_side, p_lane);
  if settle(v_lane, v_back::int, true, null) then o_told := array_append(o_told, 'w'); end if;
  o_waiting := v_lane.waiting + v_back::int;
  if v_watched then o_told := array_append(o_told, move_of(v_from, p_to, v_row)); end if;
end $$;

-- Frees a lane and leaves the message where it is worked on: whoever takes the lane next takes it up.
create or replace function let_go(p_office int, p_me bigint, p_side "char", p_lane text, p_turn bigint,
  out o_waiting int, out o_told text[]) language plpgsql as $$
declare v_lane lane;
begin
  select * into v_lane from lane
    where office = p_office and side = p_side and lane = p_lane and held = p_me and turn = p_turn for no key update;
  if not found then return; end if;
  update message set held = null where office = p_office and key = v_lane.hand and held = p_me;
  if settle(v_lane, 0, true, v_lane.hand) then o_told := array['w']; end if;
  o_waiting := v_lane.waiting;
end $$;

-- Frees every lane that an owner holds, but for those of these turns. Returns how many were freed.
create or replace function let_go_but(p_office int, p_owner bigint, p_turns bigint[]) returns int language plpgsql as $$
declare v_lane lane; v_count int := 0;
begin
  for v_lane in
    select * from lane where held = p_owner and office = p_office and turn <> all (p_turns)
    order by side, lane for no key update
  loop
    update message set held = null where office = p_office and key = v_lane.hand and held = p_owner;
    perform settle(v_lane, 0, true, v_lane.hand);
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- Which turns of these an owner has still; what it holds beside them is freed, because it does not know of it.
create or replace function again(p_office int, p_me bigint, p_turns bigint[]) returns bigint[] language plpgsql as $$
begin
  perform let_go_but(p_office, p_me, p_turns);
  return array(select turn from lane where held = p_me and office = p_office);
end $$;

create or replace function office_of(p_name text) returns int language plpgsql as $$
declare v_id int;
begin
  select id into v_id from office where name = p_name;
  if not found then
    insert into office (name) values (p_name) on conflict do nothing;
    select id into v_id from office where name = p_name;
  end if;
  return v_id;
end $$;

-- Makes a new owner. This session holds its lock before anybody can see its row.
create or replace function hello(p_office int, p_node text, p_service text, p_version text) returns bigint language plpgsql as $$
declare v_id bigint := nextval('owner_id');
begin
  perform pg_advisory_lock(lock_of(v_id));
  insert into owner (id, office, node, service, version) values (v_id, p_office, p_node, p_service, p_version);
  return v_id;
end $$;

-- Takes an owner's lock anew after its connection was lost. False when it was given up meanwhile.
create or replace function rejoin(p_me bigint) returns boolean language plpgsql as $$
begin
  perform pg_advisory_lock(lock_of(p_me));
  update owner set missing = null where id = p_me;
  return found;
end $$;

-- An owner that ends in order.
create or replace function bye(p_office int, p_me bigint) returns int language plpgsql as $$
begin
  delete from owner where id = p_me;
  return let_go_but(p_office, p_me, '{}');
end $$;

-- Frees what dead owners held. The lock of an owner is free when its connection is gone: our own predecessor is surely
-- dead then, another machine may be cut off and is waited for. Returns how many lanes were freed.
create or replace function reap(p_office int, p_me bigint, p_node text, p_service text, p_away interval) returns int
language plpgsql as $$
declare v_owner owner; v_count int := 0;
begin
  -- One at a time: a lock that another reaper tries looks like one that is held.
  if not pg_try_advisory_xact_lock(lock_of((1::bigint << 47) | p_office)) then return 0; end if;
  for v_owner in select * from owner where office = p_office and id <> p_me order by id loop
    if not pg_try_advisory_xact_lock(lock_of(v_owner.id)) then
      if v_owner.missing is not null then update owner set missing = null where id = v_owner.id; end if;
    elsif (v_owner.node = p_node and v_owner.service = p_service)
        or v_owner.missing < clock_timestamp() - p_away then
      -- First the row: a claim that is under way ends before, and then its lane is seen.
      delete from owner where id = v_owner.id;
      v_count := v_count + let_go_but(p_office, v_owner.id, '{}');
    elsif v_owner.missing is null then
      update owner set missing = clock_timestamp() where id = v_owner.id;
    end if;
  end loop;
  return v_count;
end $$;

-- Gives up a message that nobody works on. Empty when it is not where it could be; false when it is in hand.
create or replace function bury(p_office int, p_key text, p_reason text,
  out o_done boolean, out o_side "char", out o_lane text, out o_waiting int, out o_told text[]) language plpgsql as $$
declare v_row message; v_lane lane; v_watched boolean; v_waited boolean;
begin
  select watched > clock_timestamp() into v_watched from office where id = p_office;
  loop
    select * into v_row from message where office = p_office and key = p_key;
    if v_row.key is null or v_row.place > 4 then return; end if;
    o_side := case when v_row.place <= 2 then 'r' else 's' end;
    v_lane := lock_lane(p_office, o_side, v_row.lane);
    -- It may have moved before the lane was ours.
    select * into v_row from message where office = p_office and key = p_key and place = v_row.place for no key update;
    exit when v_row.key is not null;
  end loop;
  v_waited := v_row.place = waits_in(o_side);
  if not v_waited and v_lane.held is not null then o_done := false; return; end if;
  update message set place = 6, reason = p_reason, moved_at = clock_timestamp(), held = null, rev = rev + 1
    where office = p_office and key = p_key;
  if settle(v_lane, -v_waited::int, false, case when v_waited then v_lane.hand end) then o_told := array['w']; end if;
  o_done := true;
  o_lane := v_row.lane;
  o_waiting := v_lane.waiting - v_waited::int;
  if v_watched then o_told := array_append(o_told, move_of(v_row.place, 6::smallint, v_row)); end if;
end $$;

-- Changes a message that waits in incoming, if it is as it was read. False when it waits there no more; empty when it was
-- changed meanwhile.
create or replace function edit(p_office int, p_key text, p_rev int, p_doc text) returns boolean language plpgsql as $$
begin
  update message set doc = p_doc::json, rev = rev + 1
    where office = p_office and key = p_key and place = 1 and rev = p_rev;
  if found then return true; end if;
  perform from message where office = p_office and key = p_key and place = 1;
  return case when found then null else false end;
end $$;

-- Takes up a message that was given up, if it is as it was read.
create or replace function requeue(p_office int, p_key text, p_rev int, p_to smallint, p_doc text,
  out o_done boolean, out o_lane text, out o_waiting int, out o_told text[]) language plpgsql as $$
declare v_row message; v_lane lane; v_watched boolean := is_watched(p_office); v_from smallint;
begin
  select * into v_row from message where office = p_office and key = p_key;
  o_done := false;
  if v_row.key is null then return; end if;
  v_lane := lock_lane(p_office, case p_to when 1 then 'r' else 's' end::"char", v_row.lane);
  v_from := v_row.place;
  update message set place = p_to, doc = p_doc::json, rev = rev + 1, reason = null, not_before = not_before + 1,
      moved_at = clock_timestamp()
    where office = p_office and key = p_key and place in (6, 7) and rev = p_rev returning * into v_row;
  if not found then return; end if;
  if settle(v_lane, 1, false, v_lane.hand) then o_told := array['w']; end if;
  o_done := true;
  o_lane := v_row.lane;
  o_waiting := v_lane.waiting + 1;
  if v_watched then o_told := array_append(o_told, move_of(v_from, p_to, v_row)); end if;
end $$;

-- Removes a message that was given up.
create or replace function purge(p_office int, p_key text, out o_done boolean, out o_told text[]) language plpgsql as $$
declare v_row message;
begin
  delete from message where office = p_office and key = p_key and place in (6, 7) returning * into v_row;
  o_done := v_row.key is not null;
  if o_done and (select watched > clock_timestamp() from office where id = p_office) then
    o_told := array[move_of(v_row.place, 0::smallint, v_row)];
  end if;
end $$;

-- Removes some of what lies in a place for longer than that. Returns how many went.
create or replace function retire(p_office int, p_place smallint, p_age interval, p_most int) returns int language plpgsql as $$
declare v_count int;
begin
  perform set_config('synchronous_commit', 'off', true);
  if p_place = 5 then
    delete from message where office = p_office and key in (select key from message
      where office = p_office and place = 5 and moved_at < clock_timestamp() - p_age order by moved_at limit p_most);
  else
    delete from message where office = p_office and key in (select key from message
      where office = p_office and place = p_place and place in (6, 7) and moved_at < clock_timestamp() - p_age
      limit p_most for update skip locked) and place = p_place;
  end if;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- Says for a while that every move is to be told.
create or replace function watch(p_office int, p_while interval) returns void language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  update office set watched = greatest(watched, clock_timestamp() + p_while) where id = p_office;
end $$;

-- Tells what a call has to tell.
create or replace function tell(p_office int, p_told text[]) returns void language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  perform pg_notify('tc_' || p_office, it) from unnest(p_told) as it;
end $$;
