//! What can be asked of the warden, and what it answers: 16 bytes each way, and nothing that is not one of these.
//!
//! A desk is a number, so that no name and no path ever reaches the process that has root's rights.

use std::fmt;

/// How long a request and an answer are.
pub const LENGTH: usize = 16;
/// How both begin: whose they are, and which version.
const MARK: [u8; 4] = *b"tcw1";
/// Desk N is the user and the group of this number and N more.
const DESK_USERS: u32 = 20_000;
/// What the warden does to desk N it does as the user of this number and N more, whom no desk may signal.
const HAND_USERS: u32 = 30_000;
/// The two ranges of users do not meet.
const DESK_MAX: u32 = 9_999;

/// A desk, as the kernel knows it: a number from 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeskNumber(u32);

/// A number that is no desk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is the number of no desk: they go from 1 to {DESK_MAX}")]
pub struct NotADesk(u32);

impl TryFrom<u32> for DeskNumber {
    type Error = NotADesk;

    fn try_from(number: u32) -> Result<DeskNumber, NotADesk> {
        if (1..=DESK_MAX).contains(&number) {
            Ok(DeskNumber(number))
        } else {
            Err(NotADesk(number))
        }
    }
}

impl fmt::Display for DeskNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl DeskNumber {
    /// The number itself.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The user that this desk's processes are, and its group.
    pub fn user(self) -> u32 {
        DESK_USERS + self.0
    }

    /// The user as which the warden ends this desk's processes.
    pub fn hand(self) -> u32 {
        HAND_USERS + self.0
    }
}

/// What the office may wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A hub as the desk's user, on the stream socket that comes with the request.
    StartHub,
    /// The end of every process of the desk.
    End,
    /// The desk's folder, if it is not there.
    Make,
    /// The end of every process of the desk, and of its folder with all that is in it.
    Remove,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What is wished.
    pub wish: Wish,
    /// For which desk.
    pub desk: DeskNumber,
    /// Comes back with the answer.
    pub tag: u32,
}

/// Bytes that are no request or no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are none of the warden's")]
pub struct BadRequest;

impl Request {
    /// As it arrives. Every request has one form, and what is not that is none.
    pub fn parse(bytes: &[u8]) -> Result<Request, BadRequest> {
        let (wish, desk, tag) = unpack(bytes).ok_or(BadRequest)?;
        let wish = match wish {
            1 => Wish::StartHub,
            2 => Wish::End,
            3 => Wish::Make,
            4 => Wish::Remove,
            _ => return Err(BadRequest),
        };
        Ok(Request { wish, desk: DeskNumber::try_from(desk).map_err(|_| BadRequest)?, tag })
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; of a hub: it is started.
    Done,
    /// The bytes were no request. The answer has the tag 0.
    NoRequest,
    /// A descriptor is missing, is no stream socket, or came where none belongs.
    WrongDescriptors,
    /// Something is being done to that desk already, or to too many.
    Busy,
    /// Processes of the desk are still there.
    StillThere,
    /// A step failed; with the kernel's number for why, or 0.
    Failed(i32),
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What became of it.
    pub outcome: Outcome,
    /// The request's.
    pub tag: u32,
}

impl Answer {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; LENGTH] {
        let (code, errno) = match self.outcome {
            Outcome::Done => (0, 0),
            Outcome::NoRequest => (1, 0),
            Outcome::WrongDescriptors => (2, 0),
            Outcome::Busy => (3, 0),
            Outcome::StillThere => (4, 0),
            Outcome::Failed(errno) => (5, errno.cast_unsigned()),
        };
        pack(code, errno, self.tag)
    }
}

/// Mark, a byte, three that are zero, two numbers with the low byte first.
pub(crate) fn pack(code: u8, value: u32, tag: u32) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..4].copy_from_slice(&MARK);
    bytes[4] = code;
    bytes[8..12].copy_from_slice(&value.to_le_bytes());
    bytes[12..].copy_from_slice(&tag.to_le_bytes());
    bytes
}

pub(crate) fn unpack(bytes: &[u8]) -> Option<(u8, u32, u32)> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let number = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        u32::from_le_bytes(word)
    };
    (bytes[..4] == MARK && bytes[5..8] == [0; 3]).then(|| (bytes[4], number(8), number(12)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn desks_and_hands_are_users_of_their_own() {
        let last = DeskNumber::try_from(DESK_MAX).unwrap();
        let first = DeskNumber::try_from(1).unwrap();
        assert_eq!((first.user(), last.user()), (20_001, 29_999));
        assert_eq!((first.hand(), last.hand()), (30_001, 39_999));
        for number in [0, DESK_MAX + 1, u32::MAX] {
            assert_eq!(DeskNumber::try_from(number), Err(NotADesk(number)));
        }
    }

    /// Bytes of which about half begin like a request, with numbers near the edges.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let near = prop_oneof![0..4_u32, DESK_MAX - 2..DESK_MAX + 3, any::<u32>()];
        let formed = (0..8_u8, proptest::array::uniform3(0..2_u8), near, any::<u32>());
        let formed = formed.prop_map(|(code, zeros, value, tag)| {
            let mut bytes = pack(code, value, tag).to_vec();
            bytes[5..8].copy_from_slice(&zeros);
            bytes
        });
        prop_oneof![formed, proptest::collection::vec(any::<u8>(), 0..40)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// What is understood is what was meant: it has one form, and its desk is one.
        #[test]
        fn every_request_has_one_form_and_names_a_desk(bytes in bytes()) {
            if let Ok(request) = Request::parse(&bytes) {
                prop_assert_eq!(request.to_bytes().to_vec(), bytes);
                prop_assert!((20_001..30_000).contains(&request.desk.user()));
            }
        }

        #[test]
        fn every_answer_has_one_form(bytes in bytes()) {
            if let Ok(answer) = Answer::parse(&bytes) {
                prop_assert_eq!(answer.to_bytes().to_vec(), bytes);
            }
        }
    }
}
