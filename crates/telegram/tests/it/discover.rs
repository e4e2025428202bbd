//! Making a bot's acquaintance: everything is learnt, and nothing is taken away from the service that starts later.

use std::io;
use std::time::Duration;

use tinyclaw_disk::Lock;
use tinyclaw_domain::{Meeting, MeetingTrouble, MetChat, MetPerson};
use tinyclaw_ledger::StateDir;
use tinyclaw_telegram::discover::{Errand, Question, meet};
use tinyclaw_testkit::telegram::{
    ADA, BOB, Control, FORUM, FakeTelegram, Fault, Limits, Options, TOKEN,
};
use tokio::sync::mpsc;

use crate::office::PATIENCE;

struct Newcomer {
    fake: FakeTelegram,
    state: StateDir,
    _dir: tempfile::TempDir,
}

impl Newcomer {
    async fn new() -> Newcomer {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join(".tinyclaw"));
        tinyclaw_ledger::create_folders(&state).unwrap();
        let options = Options { limits: Limits::none(), ..Options::default() };
        Newcomer { fake: FakeTelegram::start_with(options).await.unwrap(), state, _dir: dir }
    }

    fn errand(&self, token: &str, question: Question) -> Errand {
        let api_url = self.fake.url();
        Errand { token: token.into(), api_url, state: self.state.clone(), question }
    }

    /// Everything that is told, to the end.
    async fn ask(&self, question: Question) -> Vec<Meeting> {
        let mut told = Vec::new();
        let is_fine = meet(self.errand(TOKEN, question), |it| {
            told.push(it.clone());
            Ok(())
        });
        let is_fine = is_fine.await.unwrap();
        assert_eq!(is_fine, !matches!(told.last(), Some(Meeting::Trouble { .. })), "{told:?}");
        told
    }

    async fn trouble(&self, question: Question) -> MeetingTrouble {
        match self.ask(question).await.pop() {
            Some(Meeting::Trouble { code, way_out, .. }) if !way_out.is_empty() => code,
            other => panic!("no trouble: {other:?}"),
        }
    }
}

const SOON: Question = Question::People(Duration::from_millis(10));

fn office() -> MetChat {
    MetChat { id: FORUM, title: "Office".to_owned(), kind: "supergroup".to_owned(), is_forum: true }
}

fn person(id: i64, name: &str) -> MetPerson {
    MetPerson { id, name: name.to_owned(), username: None }
}

#[tokio::test]
async fn a_bot_says_who_it_is_and_whether_it_hears_groups() {
    let newcomer = Newcomer::new().await;
    for reads_groups in [true, false] {
        newcomer.fake.act(Control::SetPrivacy { reads_groups });
        let told = newcomer.ask(Question::Bot).await;
        assert!(
            matches!(&told[..], [Meeting::Bot { id: 7_000_000_001, reads_groups: it, .. }] if *it == reads_groups),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_none_and_one_nobody_knows_are_named() {
    let newcomer = Newcomer::new().await;
    for token in ["", "hello", "123:with blank", "7000000001:AAanother-token", "1:/../getMe?x="] {
        let mut told = Vec::new();
        let errand = newcomer.errand(token, Question::Bot);
        let is_fine = meet(errand, |it| {
            told.push(it.clone());
            Ok(())
        });
        assert!(!is_fine.await.unwrap());
        assert!(
            matches!(&told[..], [Meeting::Trouble { code: MeetingTrouble::Token, says, .. }] if !says.contains("AAanother")),
            "{token}: {told:?}"
        );
    }
}

#[tokio::test]
async fn whoever_writes_is_told_of_once_and_their_message_stays_unread() {
    let newcomer = Newcomer::new().await;
    newcomer.fake.act(Control::AddBot { chat: FORUM, from: ADA });
    newcomer.fake.say(FORUM, None, ADA, "hello");
    let (teller, mut told) = mpsc::unbounded_channel();
    let errand = newcomer.errand(TOKEN, Question::People(PATIENCE));
    let meeting = tokio::spawn(meet(errand, move |it| {
        teller.send(it.clone()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }));
    assert_eq!(told.recv().await, Some(Meeting::Added { chat: office(), by: person(ADA, "Ada") }));
    assert_eq!(told.recv().await, Some(Meeting::Wrote { chat: office(), by: person(ADA, "Ada") }));
    // The next one comes while it looks.
    newcomer.fake.say(BOB, None, BOB, "psst");
    let Some(Meeting::Wrote { chat, by }) = told.recv().await else { panic!("Bob is not seen") };
    assert_eq!((chat.kind.as_str(), by.id), ("private", BOB));
    meeting.abort();
    assert_eq!(newcomer.fake.unconfirmed(), 3);
    let offsets = newcomer.fake.calls().into_iter().filter(|it| it.params.contains_key("offset"));
    assert_eq!(offsets.count(), 0, "an offset confirms, a negative one forgets");
}

#[tokio::test]
async fn somebody_who_writes_as_the_group_is_not_taken_for_a_person() {
    let newcomer = Newcomer::new().await;
    let body = serde_json::json!({
        "message_id": 5, "date": 1, "text": "hello",
        "chat": {"id": FORUM, "type": "supergroup", "title": "Office", "is_forum": true},
        "from": {"id": 1_087_968_824, "is_bot": true, "first_name": "Group"},
        "sender_chat": {"id": FORUM, "type": "supergroup", "title": "Office"},
    });
    newcomer.fake.act(Control::RawUpdate { kind: "message".to_owned(), body });
    let told = newcomer.ask(SOON).await;
    assert_eq!(told[0], Meeting::Anonymous { chat: office() });
}

#[tokio::test]
async fn what_the_bot_may_do_in_a_chat_is_found_out() {
    let newcomer = Newcomer::new().await;
    let question = |id| Question::Chat { id, owner: Some(ADA) };
    for admin in [true, false] {
        newcomer.fake.act(Control::SetAdmin { chat: FORUM, admin });
        let told = newcomer.ask(question(FORUM)).await;
        let expected = Meeting::Chat {
            chat: office(),
            bot_is_admin: admin,
            manages_topics: admin,
            owner_is_member: Some(true),
        };
        assert_eq!(told, [expected]);
    }
    assert_eq!(newcomer.trouble(question(-100_999)).await, MeetingTrouble::Chat);
    let words = "Bad Request: PARTICIPANT_ID_INVALID";
    newcomer.fake.act(Control::Break { fault: Fault::refused("getChatMember", 1, 400, words) });
    let told = newcomer.ask(question(FORUM)).await;
    assert!(matches!(told[..], [Meeting::Chat { owner_is_member: Some(false), .. }]), "{told:?}");
    let title = "Group".to_owned();
    newcomer.fake.act(Control::AddChat { chat: -7, title, forum: false, supergroup: false });
    let told = newcomer.ask(Question::Chat { id: -7, owner: None }).await;
    assert!(
        matches!(&told[..], [Meeting::Chat { chat, owner_is_member: None, .. }] if !chat.is_forum),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_group_that_has_become_a_forum_says_which() {
    let newcomer = Newcomer::new().await;
    let title = "Group".to_owned();
    newcomer.fake.act(Control::AddChat { chat: -7, title, forum: false, supergroup: false });
    newcomer.fake.act(Control::Migrate { chat: -7, to: -100_777, forum: true });
    let told = newcomer.ask(Question::Chat { id: -7, owner: None }).await;
    assert!(
        matches!(&told[..], [Meeting::Trouble { code: MeetingTrouble::Chat, says, .. }] if says.contains("-100777")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_running_office_is_not_disturbed() {
    let newcomer = Newcomer::new().await;
    let serving = Lock::try_take(&newcomer.state.telegram_lock(7_000_000_001)).unwrap().unwrap();
    assert_eq!(newcomer.trouble(SOON).await, MeetingTrouble::Served);
    assert!(newcomer.fake.calls().is_empty(), "not one look");
    // Who the bot is and what it may do disturbs nobody.
    assert_eq!(newcomer.ask(Question::Bot).await.len(), 1);
    assert_eq!(newcomer.ask(Question::Chat { id: FORUM, owner: None }).await.len(), 1);
    drop(serving);
    assert_eq!(newcomer.trouble(SOON).await, MeetingTrouble::Nobody);
}

#[tokio::test]
async fn another_reader_a_webhook_and_a_silent_telegram_are_told_apart() {
    let newcomer = Newcomer::new().await;
    let conflict = "Conflict: terminated by other getUpdates request";
    newcomer.fake.act(Control::Break { fault: Fault::refused("getUpdates", 1, 409, conflict) });
    assert_eq!(newcomer.trouble(SOON).await, MeetingTrouble::Polled);
    newcomer.fake.act(Control::SetWebhook { url: "https://example.org/hook".to_owned() });
    assert_eq!(newcomer.trouble(SOON).await, MeetingTrouble::Webhook);
    let url = newcomer.fake.url();
    drop(newcomer.fake);
    let errand = Errand {
        token: TOKEN.into(),
        api_url: url,
        state: newcomer.state.clone(),
        question: Question::Bot,
    };
    let mut told = Vec::new();
    let is_fine = meet(errand, |it| {
        told.push(it.clone());
        Ok(())
    });
    assert!(!is_fine.await.unwrap());
    let said = serde_json::to_string(&told).unwrap();
    assert!(said.contains("\"code\":\"reach\"") && !said.contains("AAfake"), "{said}");
}

#[tokio::test]
async fn a_backlog_that_hides_the_news_is_named() {
    let newcomer = Newcomer::new().await;
    for _ in 0..100 {
        let body = serde_json::json!({"id": "1"});
        newcomer.fake.act(Control::RawUpdate { kind: "poll".to_owned(), body });
    }
    assert_eq!(newcomer.trouble(SOON).await, MeetingTrouble::Backlog);
}
