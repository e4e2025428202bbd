#![doc = include_str!("../README.md")]

mod adopted;
mod arguments;
mod config;
mod confined;
mod content;
mod devboxes;
mod driver;
mod engine;
mod envs;
mod failure;
mod far;
mod home;
mod launch;
mod launchers;
pub mod leash;
pub mod link;
mod local;
mod login;
mod look;
mod moving;
mod outfit;
mod overlap;
mod pool;
mod skill;
#[cfg(feature = "testing")]
pub mod testing;
mod transcript;
mod turn;
mod user_links;
mod users;
mod wire;

pub use config::{
    Auth, ConfigError, EngineConfig, Landlock, Mode, Times, find_helper, find_sibling,
};
pub use confined::{CarryError, Confined, ConfinedError, Said, Way};
pub use content::{Content, ContentError};
pub use devboxes::DevboxLauncher;
pub use engine::{Engine, PINNED_VERSION, Probe, VersionReport};
pub use envs::EnvLauncher;
pub use failure::{Advice, Taken, TurnFailure, Watchdog};
pub use launch::{
    Access, AdoptFuture, EndFuture, Exit, LaunchError, LaunchFuture, LaunchSpec, Launcher, Leash,
    LeashHand, LeashOrder, Leashed,
};
pub use launchers::Launchers;
pub use link::{DevboxWay, Devboxes, GitAnswer};
pub use local::LocalLauncher;
pub use look::{BadDir, Desk, FoundFile, Look, LookError, LookFuture, OutOfReach};
pub use moving::{GitState, Parcel};
pub use overlap::{Overlap, overlap};
pub use skill::SkillSource;
pub use transcript::{FinishedReply, Trace, path as transcript_path};
pub use turn::{
    Background, Denial, Draft, McpResponder, McpState, OfficeSkills, OtherServers, RateWindow,
    Reconnected, SessionSpec, Skill, ToolSpec, Turn, TurnControl, TurnEnd, TurnEvent, TurnOutcome,
    TurnRequest,
};
pub use users::{DeskFolders, Users};
