//! `TCP_NODELAY` on the connections to the server.
//!
//! The driver (sqlx 0.9.0) does not set it any more (issue 4335, mended after that release). `COPY`
//! sends its rows and its end one after the other without an answer in between, so the kernel holds
//! the end back until the server acknowledges the rows, which it puts off for 40 ms: each small
//! commit took that long. The driver does not hand out its socket either, and this project has no
//! unsafe code; so Linux is asked for a second handle of each socket of ours that leads to the
//! server. Where that is refused (an old kernel, a strict container) all works as before, slowly.
//!
//! To be removed with the first release of the driver that sets it.

use std::{fs, net::TcpStream, os::fd::OwnedFd};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Sets it on every connection of this process to `port`. Returns how many there are.
pub(crate) fn set(port: u16) -> std::io::Result<usize> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut set = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // It may have been closed meanwhile.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if !target.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(handle) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
        set += usize::from(set_on(handle, port));
    }
    Ok(set)
}

fn set_on(handle: OwnedFd, port: u16) -> bool {
    let stream = TcpStream::from(handle);
    // Sockets of other families have no such address.
    stream.peer_addr().is_ok_and(|peer| peer.port() == port) && stream.set_nodelay(true).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_to_the_port_gets_it_and_others_do_not() {
        let [ours, other] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [to_ours, to_other] = [&ours, &other].map(|listener| {
            TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection")
        });
        let port = ours.local_addr().expect("an address").port();
        assert_eq!(super::set(port).expect("this kernel can"), 1);
        assert!(to_ours.nodelay().expect("readable"));
        assert!(!to_other.nodelay().expect("readable"));
    }
}
