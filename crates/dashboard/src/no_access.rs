//! In place of the check of Cloudflare Access, in a dashboard that was built without it: nobody gets in where the settings
//! ask for the check, and every answer says why.

use axum::http::HeaderValue;

use crate::config::AccessConfig;

/// The check that is not there.
#[derive(Debug)]
pub(crate) struct Access;

impl Access {
    /// What stands for the check that `config` asks for.
    pub(crate) fn new(config: &AccessConfig) -> Access {
        let team = &config.team;
        tracing::error!("{WHY}; nobody is let in for {team}");
        Access
    }

    /// Refuses.
    pub(crate) async fn check(&self, _token: Option<&HeaderValue>) -> Result<(), String> {
        Err(WHY.into())
    }
}

const WHY: &str = "CF_ACCESS_TEAM is set, and this dashboard was built without the check of Cloudflare Access: \
    build it with cargo build --release -p tinyclaw-dashboard";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_gets_in_without_the_check_that_is_asked_for() {
        let config = AccessConfig { team: "ada".into(), audience: "office".into(), keys: None };
        let token = HeaderValue::from_static("a.b.c");
        for token in [None, Some(&token)] {
            let why = Access::new(&config).check(token).await.unwrap_err();
            assert!(why.contains("cargo build --release -p tinyclaw-dashboard"), "{why}");
        }
    }
}
