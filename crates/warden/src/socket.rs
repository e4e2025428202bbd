//! Messages over the socket pair between warden and office, with the descriptors that come along.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

use crate::request::Answer;

/// One message with the descriptors that came along, all of them closed on exec. More than fit are closed by the kernel.
pub(crate) fn receive(
    from: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut iov = [IoSliceMut::new(bytes)];
    let got = recvmsg(from, &mut iov, &mut control, flags | RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|it| match it {
        RecvAncillaryMessage::ScmRights(all) => Some(all),
        _ => None,
    });
    Ok((got.bytes, rights.flatten().collect()))
}

/// One belongs to a request at most; so it is noticed when there are more.
const DESCRIPTORS_MAX: usize = 4;

/// Sends an answer. Does not wait for whoever does not listen.
pub(crate) fn reply(to: BorrowedFd<'_>, answer: Answer) -> rustix::io::Result<()> {
    send(to, &answer.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}
