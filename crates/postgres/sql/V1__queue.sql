-- The tables of the queue. What each operation does to them stands in functions.sql.

-- One row: what this schema is, and the oldest program that may still use it.
create table meta (version int not null, oldest int not null, functions text not null default '');
insert into meta (version, oldest) values (1, 1);

-- The order in which messages came in, on all machines: drawn under their lane's lock.
create sequence ord;
-- A number for every time that a lane is taken, so that no two owners ever speak of the same one.
create sequence turn;
-- A number for every process that ever took a lane. Its advisory lock says whether it lives.
create sequence owner_id;

create table office (
  id int generated always as identity primary key,
  name text collate "C" unique not null,
  -- Why nothing is taken in or handed out any more.
  closed text,
  -- Until when somebody wants to hear of every move.
  watched timestamptz not null default '-infinity'
);

create table owner (
  id bigint primary key,
  office int not null references office,
  node text collate "C" not null,
  service text collate "C" not null,
  version text not null,
  started timestamptz not null default clock_timestamp(),
  -- Since when its lock is free.
  missing timestamptz
);

create table lane (
  office int not null,
  side "char" not null,
  lane text collate "C" not null,
  class "char" not null,
  -- The way out of what comes next.
  channel text collate "C" not null default '',
  waiting int not null default 0,
  -- When what comes next may be taken, in microseconds since 1970; null when nothing waits.
  ready bigint,
  held bigint,
  turn bigint not null default 0,
  -- The message in hand, or left behind by whoever had it in hand.
  hand text collate "C",
  -- When the youngest message came in. No later one is older, whatever the clock does.
  youngest timestamptz not null default '-infinity',
  primary key (office, side, lane)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
create index lane_ready on lane (office, side, class, ready) where held is null and ready is not null;
create index lane_held on lane (held) where held is not null;

create table message (
  office int not null,
  key text collate "C" not null,
  lane text collate "C" not null,
  channel text collate "C" not null,
  -- 1 incoming, 2 processing, 3 outgoing, 4 sending, 5 done, 6 dead, 7 quarantine.
  place smallint not null,
  prio smallint not null,
  ord bigint not null,
  -- Not to be tried before, in ms since 1970. It grows with every move back.
  not_before bigint not null default 0,
  held bigint,
  turn bigint not null default 0,
  rev int not null default 0,
  queued_at timestamptz not null,
  moved_at timestamptz not null,
  reason text,
  -- Not jsonb, which refuses a character that messages may hold.
  doc json not null,
  primary key (office, key)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create index message_waiting on message (office, place, lane, prio, ord) where place in (1, 3);
create index message_live on message (office, place, ord) where place in (2, 4, 6, 7);
create index message_done on message (office, moved_at) where place = 5;
