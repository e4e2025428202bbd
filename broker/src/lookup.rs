//! Which installation belongs to whom: asked of GitHub once, remembered for a while.
//!
//! "There is none" is remembered as well, but not for long: somebody may be installing the App at
//! this moment. Trouble is not remembered at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ask::Target;
use crate::clock::Clock;
use crate::flight::Flights;
use crate::github::{GitHub, Installation};
use crate::names::{Owner, RepoName};
use crate::refusal::Refusal;

const KNOWN_SECONDS: i64 = 600;
const UNKNOWN_SECONDS: i64 = 60;
/// A bound for memory: names come from outside.
const ANSWERS_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    OfOwner(Owner),
    OfRepo(Owner, RepoName),
    Numbered(u64),
}

type Answer = Option<(u64, Option<Owner>)>;

/// Answers of GitHub's, and questions under way.
#[derive(Debug)]
pub(crate) struct Lookups {
    github: Arc<GitHub>,
    clock: Arc<Clock>,
    answers: Arc<Mutex<HashMap<Question, (Answer, i64)>>>,
    flights: Flights<Question, Result<Answer, Refusal>>,
}

impl Lookups {
    pub(crate) fn new(github: Arc<GitHub>, clock: Arc<Clock>) -> Lookups {
        Lookups { github, clock, answers: Arc::default(), flights: Flights::default() }
    }

    /// The number of an installation, and its owner. `pay` is asked before GitHub is, and with
    /// `true` by the one who asks: names to look up are as many as anybody likes.
    pub(crate) async fn installation_of(
        &self,
        target: &Target,
        pay: impl Fn(bool) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(u64, Option<Owner>), Refusal> {
        let (question, missing) = match target {
            Target::Installation(id) => {
                (Question::Numbered(*id), format!("this App has no installation {id}"))
            }
            Target::Owner(owner) => {
                (Question::OfOwner(owner.clone()), format!("the App is not installed on {owner}"))
            }
            Target::Repo(owner, repo) => (
                Question::OfRepo(owner.clone(), repo.clone()),
                format!(
                    "the App is not installed on {owner}/{repo}, or there is no such repository"
                ),
            ),
        };
        self.ask(question, pay).await?.ok_or_else(|| {
            let hint = "install it in the settings of that account, for this repository too; the \
                        answer is remembered for a minute";
            Refusal::new(404, "installation_not_found", missing, hint)
        })
    }

    /// Whose installation this is.
    pub(crate) async fn owner_of(
        &self,
        id: u64,
        pay: impl Fn(bool) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Option<Owner>, Refusal> {
        self.installation_of(&Target::Installation(id), pay).await.map(|(_, owner)| owner)
    }

    /// Forgets what led to an installation that is gone.
    pub(crate) fn forget(&self, id: u64) {
        let gone = |answer: &Answer| answer.as_ref().is_some_and(|(it, _)| *it == id);
        lock(&self.answers).retain(|_, (answer, _)| !gone(answer));
    }

    async fn ask(
        &self,
        question: Question,
        pay: impl Fn(bool) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        let now = self.clock.now();
        if let Some((answer, until)) = lock(&self.answers).get(&question)
            && now < *until
        {
            return Ok(answer.clone());
        }
        pay(false)?;
        let (github, clock, answers) =
            (self.github.clone(), self.clock.clone(), self.answers.clone());
        let asked = question.clone();
        let errand = move || async move {
            pay(true)?;
            let found = match &asked {
                Question::OfOwner(owner) => github.installation_of_owner(owner).await,
                Question::OfRepo(owner, repo) => github.installation_of_repo(owner, repo).await,
                Question::Numbered(id) => github.installation(*id).await,
            }?;
            let owner = |it: &Installation| it.account.as_ref()?.login.as_ref()?.parse().ok();
            let answer = found.map(|it| (it.id, owner(&it)));
            let now = clock.now();
            let seconds = if answer.is_some() { KNOWN_SECONDS } else { UNKNOWN_SECONDS };
            let mut answers = lock(&answers);
            if answers.len() >= ANSWERS_MAX {
                answers.retain(|_, (_, until)| *until > now);
            }
            if answers.len() >= ANSWERS_MAX {
                answers.clear();
            }
            answers.insert(asked, (answer.clone(), now + seconds));
            Ok(answer)
        };
        let joined = self.flights.join(question, errand).await;
        let hint = "try again; the broker's log says what happened";
        joined.map_err(|_| Refusal::new(500, "internal", "a lookup was lost", hint))?.0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
