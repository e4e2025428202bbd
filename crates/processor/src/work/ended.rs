//! How the work on a message ended.

use tinyclaw_domain::{FollowUp, Reply};

use crate::availability::notices::notice;
use crate::policy::failure::Unanswered;

/// With an answer, or without one for now.
#[derive(Debug)]
pub(crate) enum Ended {
    Answered { reply: Box<Reply>, follow_ups: Vec<FollowUp> },
    Unanswered(Unanswered),
}

impl Ended {
    /// An answer of TinyClaw itself.
    pub(crate) fn notice(text: impl Into<String>) -> Ended {
        Ended::answered(notice(text))
    }

    /// An answer that nothing is sent on with.
    pub(crate) fn answered(reply: Reply) -> Ended {
        Ended::Answered { reply: Box::new(reply), follow_ups: Vec::new() }
    }
}

impl From<Unanswered> for Ended {
    fn from(unanswered: Unanswered) -> Ended {
        Ended::Unanswered(unanswered)
    }
}
