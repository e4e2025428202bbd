use std::fs;

use tinyclaw_client::Attachment;
use tinyclaw_disk::{Flush, replace};
use tinyclaw_domain::{FileRef, Reply, ThreadId};

use crate::Office;

#[test]
fn a_file_is_kept_beside_others_of_its_thread_under_a_name_that_is_one() {
    let office = Office::in_folders();
    let thread = ThreadId::topic(7);
    let file = Attachment { name: "../../to do.txt", mime: "text/plain", bytes: b"sleep" };
    let kept = office.client.attach(&thread, "cli-a-1", file).unwrap();
    let (path, mime) = ("files/7/cli-a-1_to do.txt".to_owned(), "text/plain".to_owned());
    assert_eq!(kept, FileRef { path, mime, name: Some("../../to do.txt".to_owned()) });
    assert_eq!(fs::read(office.dir.path().join(&kept.path)).unwrap(), b"sleep");
    let other = office.client.attach(&thread, "cli-a-2", file).unwrap();
    assert_ne!(other.path, kept.path);
}

#[test]
fn an_answer_too_long_for_its_message_is_read_from_its_file_and_from_no_other() {
    let office = Office::in_folders();
    let reply = |file: &str| Reply { file: Some(file.to_owned()), ..Reply::default() };
    let text = |reply: &Reply| office.client.text(reply).map_err(|it| it.to_string());
    assert_eq!(text(&Reply { text: "hi".to_owned(), ..Reply::default() }), Ok("hi".to_owned()));
    let folder = office.state().files(&ThreadId::topic(7));
    fs::create_dir_all(&folder).unwrap();
    replace(&folder.join("answer.md"), b"a long story", Flush::None).unwrap();
    replace(&folder.join("noise.md"), b"\xff\xfe", Flush::None).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("link.md")).unwrap();
    assert_eq!(text(&reply("files/7/answer.md")), Ok("a long story".to_owned()));
    assert_eq!(text(&reply("files/7/noise.md")).unwrap_err(), r#""files/7/noise.md" is not text"#);
    for other in ["files/7/link.md", "files/7/none.md", "../x", "/etc/hostname"] {
        assert_eq!(
            text(&reply(other)).unwrap_err(),
            format!("cannot show the answer in {other:?}")
        );
    }
}
