//! An archive of a few entries, as Docker takes it: enough of the ustar format to put a program and a folder somewhere.

const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    /// A folder.
    Folder,
    /// A file of these bytes.
    File(&'a [u8]),
}

/// An archive with one entry: its name, mode, and owner (user and group alike).
pub(crate) fn archive(name: &str, mode: u32, owner: u32, entry: Entry<'_>) -> Vec<u8> {
    let (kind, bytes) = match entry {
        Entry::Folder => (b'5', &[][..]),
        Entry::File(bytes) => (b'0', bytes),
    };
    let mut head = [0u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| head[at..at + text.len()].copy_from_slice(text);
    // Names are ours, and short.
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, format!("{owner:07o}").as_bytes());
    put(116, format!("{owner:07o}").as_bytes());
    put(124, format!("{:011o}", bytes.len()).as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = head.iter().map(|it| u32::from(*it)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut all = Vec::with_capacity(bytes.len() + 4 * BLOCK);
    all.extend_from_slice(&head);
    all.extend_from_slice(bytes);
    all.resize(all.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    all
}
