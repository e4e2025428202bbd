#![doc = include_str!("../README.md")]

pub mod approval;
mod catalogue;
pub mod checksum;
mod container_env;
mod decision;
mod devbox;
mod effort;
mod env;
mod file_name;
pub mod frame;
mod health;
mod ids;
mod job_line;
mod lines;
pub mod look;
mod mcp;
mod meeting;
mod message;
mod model;
mod place;
mod plan;
mod progress;
mod quoted;
mod set_now;
mod state_dir;
mod steer;
mod thread;
mod token;
mod topic_change;

pub use catalogue::{BadCatalogue, Catalogue, Family, UnknownModel};
pub use container_env::{ContainerDir, ContainerEnv, ContainerStatus, Cpus, Image, Memory, Rest};
pub use decision::{
    Band, Boundaries, CacheTtl, Cause, Decision, DeskKind, Dimension, Hit, Probabilities, Replied,
    ReplyRule, Stay, WarmCache,
};
pub use devbox::{
    BadDevbox, DEVBOX_VERBS, DevboxAddress, DevboxDir, DevboxHost, DevboxOrder, DevboxStatus,
    DevboxTrust, DevboxUser, DevboxView, DevboxViews, Fingerprint, MoveTo,
};
pub use effort::{ChosenEffort, Effort, EffortFrom, Efforts, UnknownEffort};
pub use env::{ApiJob, Env, EnvSession, Envs, LocalEnv, SessionUlid};
pub use file_name::safe_name;
pub use health::Health;
pub use ids::{BadId, KEY_BYTES_MAX, Key, Lane, SessionId, THREAD_ID_BYTES_MAX, ThreadId};
pub use job_line::{BadJobId, JobEvent, JobId, JobLine};
pub use lines::{
    ConversationLine, Correction, Direction, HistoryLine, InjectedPart, OutcomeLine, PromptLine,
    RoutingLine,
};
pub use mcp::{ALL_TOOLS, BadMcpServer, McpName, McpServer, McpServers, is_secret_name};
pub use meeting::{Meeting, MeetingTrouble, MetChat, MetPerson};
pub use message::{
    ARRIVAL_OF, Attempts, ButtonPress, Channel, Checkpoint, Command, Delivery, FileRef, FollowUp,
    MESSAGE_VERSION, McpOrder, Message, Outcome, PermissionAnswer, Reply, ReplyButton,
    STOPPED_WAITING, Source, Usage,
};
pub use model::{MODEL_BYTES_MAX, Model, OwnTiers, Tier, Tiers};
pub use place::{DevboxName, EnvName, Place};
pub use plan::{PlanUse, PlanWindow};
pub use progress::{
    Ask, Progress, TOOL_SPANS_MAX, Todo, TodoState, ToolSpan, ToolUse, TurnState, left_to_do,
};
pub use quoted::{Quote, quoted};
pub use set_now::set_now;
pub use state_dir::StateDir;
pub use steer::{Handed, for_the_running_turn};
pub use thread::{PermissionMode, Thread, ThreadStatus, Threads, Trust};
pub use token::{
    BadScope, ROTATION_MS, Scope, TICKET_PREFIX, TOKEN_PREFIX, TOKEN_SECRET_BYTES, Token,
    TokenBefore, TokenLogin, Tokens, token_id, token_sum, token_text,
};
pub use topic_change::TopicChange;
