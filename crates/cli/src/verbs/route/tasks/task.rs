//! One task: a tiny repository, a request as it is typed at a desk, and a test that says whether it was done. It is one file,
//! so that it can be read from top to bottom; the test and the reference solution are shell scripts that stand outside the
//! repository, where who does the task does not see them.

use std::path::{Component, Path};

use anyhow::{Context as _, bail};

/// The endings of task files.
const ENDING: &str = "task";
/// What begins a part of the file.
const PART: &str = "\n== ";

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// What is typed.
    pub(crate) request: String,
    /// The weakest model with which the demo engine does it: a guess of whoever wrote the task.
    pub(crate) model: String,
    /// The repository: paths in it, and what is in them.
    pub(crate) files: Vec<(String, String)>,
    /// Run in the repository, it ends well when the task is done.
    pub(crate) test: String,
    /// Run in the repository, it does the task.
    pub(crate) solution: String,
}

impl Task {
    /// Every task of a folder, in the order of their names.
    pub(crate) fn all(dir: &Path) -> anyhow::Result<Vec<Task>> {
        let shown = dir.display();
        let entries = dir.read_dir().with_context(|| format!("cannot list {shown}"))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {shown}"))?.path();
            if path.extension().is_some_and(|it| it == ENDING) {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            bail!("there is no task in {shown}: a task is a file that ends in .{ENDING}");
        }
        let read = |path: &std::path::PathBuf| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Task::parse(name, &text).with_context(|| format!("{} is no task", path.display()))
        };
        paths.iter().map(read).collect()
    }

    fn parse(name: String, text: &str) -> anyhow::Result<Task> {
        let mut task = Task {
            name,
            request: String::new(),
            model: String::new(),
            files: Vec::new(),
            test: String::new(),
            solution: String::new(),
        };
        let mut parts = text.split(PART);
        for line in parts.next().unwrap_or_default().lines() {
            match line.split_once(": ") {
                Some(("request", it)) => it.clone_into(&mut task.request),
                Some(("model", it)) => it.clone_into(&mut task.model),
                _ => bail!("it begins with {line:?}, and not with its request and its model"),
            }
        }
        for part in parts {
            let (name, body) = part.split_once('\n').unwrap_or((part, ""));
            let body = format!("{}\n", body.trim_end_matches('\n'));
            match name.trim() {
                "TEST" => task.test = body,
                "SOLUTION" => task.solution = body,
                path => {
                    let mut pieces = Path::new(path).components();
                    if path.is_empty() || !pieces.all(|it| matches!(it, Component::Normal(_))) {
                        bail!("{path:?} is no path inside a repository");
                    }
                    task.files.push((path.to_owned(), body));
                }
            }
        }
        for (what, it) in [
            ("request", &task.request),
            ("model", &task.model),
            ("TEST", &task.test),
            ("SOLUTION", &task.solution),
        ] {
            if it.trim().is_empty() {
                bail!("it has no {what}");
            }
        }
        Ok(task)
    }

    /// Makes the repository's files in a folder that is not there yet.
    pub(crate) fn lay_out(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, text) in &self.files {
            let path = dir.join(name);
            let parent = path.parent().unwrap_or(dir);
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
            tinyclaw_disk::replace(&path, text.as_bytes(), tinyclaw_disk::Flush::None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test runs the tasks' own scripts")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn ours() -> Vec<Task> {
        Task::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../router/tasks"))
            .expect("the tasks")
    }

    /// Runs a script in a folder, and says whether it ended well and what it said.
    fn sh(dir: &Path, script: &str) -> (bool, String) {
        let mut sh = Command::new("sh");
        let done =
            sh.arg("-c").arg(script).current_dir(dir).stdin(Stdio::null()).output().expect("sh");
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    }

    fn has_python() -> bool {
        let mut python = Command::new("python3");
        python.arg("--version").output().is_ok_and(|it| it.status.success())
    }

    #[test]
    fn each_tasks_test_is_red_before_and_green_with_its_reference_solution() {
        let tasks = ours();
        assert_eq!(tasks.len(), 40);
        let has_python = has_python();
        for task in &tasks {
            let needs = [&task.test, &task.solution].iter().any(|it| it.contains("python3"));
            if needs && !has_python {
                continue;
            }
            // A test may leave something behind: it gets a repository of its own each time.
            let dir = tempfile::tempdir().expect("a folder");
            let (before, after) = (dir.path().join("before"), dir.path().join("after"));
            task.lay_out(&before).expect("a repository");
            assert!(!sh(&before, &task.test).0, "{} is done before it is begun", task.name);
            task.lay_out(&after).expect("a repository");
            let (is_done, said) = sh(&after, &task.solution);
            assert!(is_done, "the solution of {} fails: {said}", task.name);
            let (is_green, said) = sh(&after, &task.test);
            assert!(is_green, "the test of {} does not take its solution: {said}", task.name);
        }
    }

    #[test]
    fn tasks_differ_and_guess_a_model() {
        let tasks = ours();
        let mut requests: Vec<&str> = tasks.iter().map(|it| it.request.as_str()).collect();
        requests.sort_unstable();
        requests.dedup();
        assert_eq!(requests.len(), tasks.len());
        for model in ["haiku", "sonnet", "opus"] {
            let count = tasks.iter().filter(|it| it.model == model).count();
            assert!(count >= 8, "{count} tasks for {model}");
        }
        assert!(tasks.iter().all(|it| ["haiku", "sonnet", "opus"].contains(&it.model.as_str())));
    }

    #[test]
    fn what_is_no_task_is_refused_with_its_reason() {
        let refused = |text: &str| {
            format!("{:#}", Task::parse("x".to_owned(), text).expect_err("it is no task"))
        };
        let whole =
            "request: fix it\nmodel: haiku\n== a.txt\nx\n== TEST\nfalse\n== SOLUTION\ntrue\n";
        let task = Task::parse("x".to_owned(), whole).expect("a task");
        assert_eq!(
            (&*task.request, task.files),
            ("fix it", vec![("a.txt".to_owned(), "x\n".to_owned())])
        );
        assert!(refused(&whole.replace("a.txt", "../a.txt")).contains("no path inside"));
        assert!(refused(&whole.replace("a.txt", "/etc/x")).contains("no path inside"));
        assert!(refused(&whole.replace("== TEST", "== TSET")).contains("has no TEST"));
        assert!(refused(&whole.replace("request: ", "")).contains("begins with"));
        assert!(refused("").contains("has no request"));
    }
}
