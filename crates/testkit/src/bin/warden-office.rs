//! `warden-office SOCKET`: an office for a warden under test. It hands its end of the warden's socket pair to whoever listens
//! at `SOCKET`, and stays until that one hangs up, or sends a byte, which is its exit code then.

use std::io::{IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_default();
    let number = std::env::var(tinyclaw_warden::VARIABLE)?.parse()?;
    let warden = tinyclaw_warden::inherited(number)?;
    let mut to = UnixStream::connect(path)?;
    let rights = [warden.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"1")], &rights, MsgFlags::empty(), None)?;
    drop(warden);
    let mut code = [0];
    let length = to.read(&mut code)?;
    std::process::exit(if length == 1 { i32::from(code[0]) } else { 0 });
}
