//! The office's skills and those of a repository, with the real CLI.

use tinyclaw_domain::Trust;
use tinyclaw_engine::{Landlock, OfficeSkills, Skill, SkillSource, TurnEvent};

use crate::claude::{bash, real};
use crate::desk::{Desk, is_unconfined, until};

fn skill(desk: &Desk, folder: &str, name: &str) {
    let path = desk.path(folder).join(name);
    std::fs::create_dir_all(&path).unwrap();
    let text =
        format!("---\nname: {name}\ndescription: Of use for {name}.\n---\nThe word is medlar.\n");
    std::fs::write(path.join("SKILL.md"), text).unwrap();
}

async fn skills_of(desk: &Desk) -> Vec<Skill> {
    let mut turn = desk.ask("[api: say hello]");
    let skills = |it| if let TurnEvent::Skills(found) = it { Some(found) } else { None };
    let found = until(&mut turn, skills).await;
    assert_eq!(turn.end().await.unwrap().text, "hello");
    found
}

#[tokio::test]
async fn real_claude_has_the_skills_of_the_office_and_cannot_change_them() {
    let (mut desk, _api) = real!();
    skill(&desk, "state/office/skills", "greet");
    skill(&desk, "work/.claude/skills", "deploy");
    let from = |all: &[Skill], name: &str| all.iter().find(|it| it.name == name).map(|it| it.from);
    let none = skills_of(&desk).await;
    assert_eq!(from(&none, "office:greet"), None);
    assert!(none.iter().all(|it| it.from == SkillSource::Claude), "{none:?}");

    desk.spec.skills = Some(OfficeSkills { dir: desk.path("state/office"), stamp: 1 });
    let office = skills_of(&desk).await;
    assert_eq!(from(&office, "office:greet"), Some(SkillSource::Office));
    assert_eq!(from(&office, "deploy"), None, "a repository's counts by a person's word alone");

    let file = desk.path("state/office/skills/greet/SKILL.md");
    let before = std::fs::read_to_string(&file).unwrap();
    desk.spec.permission_mode = tinyclaw_domain::PermissionMode::Bypass;
    let end = desk.say(&bash(&format!("cat {0}; echo no >> {0}; echo done", file.display()))).await;
    assert!(end.text.contains("The word is medlar") && end.text.contains("done"), "{end:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);

    desk.spec.trust = Trust::Settings;
    assert_eq!(from(&skills_of(&desk).await, "deploy"), Some(SkillSource::Repository));
}

/// The folder lies in the state, which no desk may reach otherwise: the first attempt gave no desk a turn any more.
#[tokio::test]
async fn the_office_s_folder_is_read_and_not_written() {
    let mut desk = Desk::demo_with(|it| it.landlock = Landlock::On);
    skill(&desk, "state/office/skills", "greet");
    std::fs::write(desk.path("state/settings.json"), "{}").unwrap();
    desk.spec.skills = Some(OfficeSkills { dir: desk.path("state/office"), stamp: 1 });
    let skill = desk.path("state/office/skills/greet/SKILL.md");
    let say = |verb: &str, path: &std::path::Path| format!("[demo: {verb} {}]", path.display());
    let told = desk.say(&say("open", &skill)).await;
    if is_unconfined(&told) {
        return;
    }
    assert!(told.text.contains("can be read"), "{told:?}");
    for barred in [
        say("touch", &skill),
        say("touch", &desk.path("state/office/skills/greet/more.md")),
        say("open", &desk.path("state/settings.json")),
    ] {
        let told = desk.say(&barred).await.text;
        assert!(told.contains("denied") && !told.contains("can be"), "{told}");
    }
}
