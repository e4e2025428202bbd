//! The queue's interface speaks of keys, sides, lanes and places. Nothing public tells that there are files: no path, no
//! descriptor, no lock, no error of the disk.

/// Words of a file system.
const FORBIDDEN: [&str; 14] = [
    "Path",
    "PathBuf",
    "OsStr",
    "OsString",
    "io",
    "fs",
    "File",
    "DirEntry",
    "OwnedFd",
    "BorrowedFd",
    "RawFd",
    "DiskError",
    "LockError",
    "Lock",
];

/// Where a path may come in: what a queue stands on is said once, when it is opened.
const DOOR: &str = "impl<P: AsRef<Path> + ?Sized> From<&P> for Where {";

/// The public signatures in a source: functions, fields, variants, aliases, and what other types are turned into ours.
/// `pub` means public here, because the compiler is asked to refuse what cannot be reached (`unreachable_pub`).
fn signatures(source: &str) -> Vec<String> {
    let production = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut lines = production.lines();
    while let Some(line) = lines.next() {
        let is_item = ["pub fn ", "pub async fn ", "pub const ", "pub type ", "impl<", "impl "]
            .iter()
            .any(|it| line.trim_start().starts_with(it));
        let is_body = ["pub enum ", "pub struct "].iter().any(|it| line.starts_with(it));
        if is_item {
            let mut signature = line.trim().to_owned();
            while !signature.ends_with(['{', ';', '}']) {
                let Some(more) = lines.next() else { break };
                signature.push(' ');
                signature.push_str(more.trim());
            }
            // The arms of other people's traits are theirs to choose, but for the one that turns something into ours.
            if signature.starts_with("pub ") || signature.contains(" From<") {
                found.push(signature);
            }
        } else if is_body {
            let is_enum = line.starts_with("pub enum ");
            found.push(line.to_owned());
            if line.ends_with('}') || line.ends_with(';') {
                continue;
            }
            let mut in_attribute = false;
            for it in lines.by_ref().take_while(|it| *it != "}").map(str::trim) {
                in_attribute |= it.starts_with("#[");
                let is_told = !in_attribute && !it.starts_with("//");
                if is_told && (is_enum || it.starts_with("pub ")) {
                    found.push(it.to_owned());
                }
                in_attribute &= !it.ends_with(']');
            }
        }
    }
    found
}

/// What a signature says that it should not.
fn leaks(signature: &str) -> bool {
    let words = signature.split(|it: char| !it.is_alphanumeric() && it != '_');
    signature != DOOR && words.into_iter().any(|it| FORBIDDEN.contains(&it))
}

fn sources(dir: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn nothing_public_tells_that_there_are_files() {
    let mut all = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let all: Vec<String> = all.iter().flat_map(|it| signatures(it)).collect();
    assert!(all.len() > 150, "only {} signatures were found: {all:#?}", all.len());
    assert!(all.iter().any(|it| it == DOOR), "the door is another one now");
    let told: Vec<&String> = all.iter().filter(|it| leaks(it)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn what_tells_of_files_is_seen() {
    let source = "
impl Queue {
    pub fn one(&self) -> io::Result<()> {
    pub async fn two(
        &self,
        path: &Path,
    ) -> bool {
    pub(crate) fn ours(&self) -> PathBuf {
}
pub enum Wrong {
    #[error(\"{} is no Path\", path.display())]
    Three { path: PathBuf },
}
pub struct Entry {
    /// Where it is: a Path.
    pub four: std::fs::File,
    path: PathBuf,
}
impl From<DiskError> for Wrong {
";
    let told: Vec<String> = signatures(source).into_iter().filter(|it| leaks(it)).collect();
    let expected = [
        "pub fn one(&self) -> io::Result<()> {",
        "pub async fn two( &self, path: &Path, ) -> bool {",
        "Three { path: PathBuf },",
        "pub four: std::fs::File,",
        "impl From<DiskError> for Wrong {",
    ];
    assert_eq!(told, expected);
}
