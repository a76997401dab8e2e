//! Filters at tc's ingress by netlink, for kernels that have no tcx (before 6.6).
//!
//! Such a filter is nobody's descriptor and has no pin: it stays until somebody deletes it. It is known by its name,
//! which holds the instance's pin directory, and by the number of its interface. Messages are those of `tc(8)`:
//! `include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls}.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Types of messages.
const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

/// `TC_H_CLSACT`, the parent of the one qdisc whose handle is the other number.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// The parents of filters: `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS` of it.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// Attributes.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is what becomes of the packet.
const DIRECT: u32 = 1;
const NESTED: u16 = 1 << 15;

/// Bytes of `struct nlmsghdr` and `struct tcmsg`.
const HEADER: usize = 16;
const TC: usize = 20;

/// A filter of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) ifindex: u32,
    handle: u32,
    /// Priority in the upper half, protocol in the lower.
    info: u32,
    /// Id of its program.
    pub(super) program: u32,
}

/// A filter as a dump tells it.
struct Listed {
    filter: Filter,
    name: String,
}

/// The filter with this name on an interface.
pub(super) fn find(ifindex: u32, name: &str) -> io::Result<Option<Filter>> {
    let listed = list(ifindex, INGRESS)?;
    Ok(listed.into_iter().find(|listed| listed.name == name).map(|listed| listed.filter))
}

/// Puts a program on an interface that has no filter of this name, behind those of others.
pub(super) fn add(program: BorrowedFd<'_>, ifindex: u32, name: &str) -> io::Result<()> {
    let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let mut qdisc = Message::new(NEW_QDISC, create, [ifindex, CLSACT_HANDLE, CLSACT, 0]);
    qdisc.attribute(KIND, b"clsact\0");
    match ask(&qdisc) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(error),
    }
    // Priority and handle 0: the kernel chooses.
    let every_protocol = u32::from((libc::ETH_P_ALL as u16).to_be());
    ask(&filter(create, [ifindex, 0, INGRESS, every_protocol], program, name)).map(drop)
}

/// Replaces the program of a filter between two packets.
pub(super) fn replace(filter_now: &Filter, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let Filter { ifindex, handle, info, .. } = *filter_now;
    ask(&filter(libc::NLM_F_CREATE as u16, [ifindex, handle, INGRESS, info], program, name))
        .map(drop)
}

/// Deletes a filter, and the qdisc with the last one. One that is gone is no error.
pub(super) fn remove(filter: &Filter) -> io::Result<()> {
    let Filter { ifindex, handle, info, .. } = *filter;
    gone(ask(&Message::new(DEL_FILTER, 0, [ifindex, handle, INGRESS, info])))?;
    if list(ifindex, INGRESS)?.is_empty() && list(ifindex, EGRESS)?.is_empty() {
        let mut qdisc = Message::new(DEL_QDISC, 0, [ifindex, CLSACT_HANDLE, CLSACT, 0]);
        qdisc.attribute(KIND, b"clsact\0");
        gone(ask(&qdisc))?;
    }
    Ok(())
}

fn gone(answer: io::Result<Vec<u8>>) -> io::Result<()> {
    match answer {
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn filter(flags: u16, numbers: [u32; 4], program: BorrowedFd<'_>, name: &str) -> Message {
    let mut options = Vec::new();
    put_attribute(&mut options, BPF_FD, &program.as_raw_fd().to_ne_bytes());
    put_attribute(&mut options, BPF_NAME, &[name.as_bytes(), &[0]].concat());
    put_attribute(&mut options, BPF_FLAGS, &DIRECT.to_ne_bytes());
    let mut message = Message::new(NEW_FILTER, flags, numbers);
    message.attribute(KIND, b"bpf\0");
    message.attribute(OPTIONS | NESTED, &options);
    message
}

/// BPF filters of an interface under `parent`; those of other kinds have no name.
fn list(ifindex: u32, parent: u32) -> io::Result<Vec<Listed>> {
    let question = Message::new(GET_FILTER, libc::NLM_F_DUMP as u16, [ifindex, 0, parent, 0]);
    let answer = match ask(&question) {
        // A kernel without filters has none.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
        answer => answer?,
    };
    let mut found = Vec::new();
    let mut rest = &answer[..];
    while let Some((body, more)) = next_message(rest) {
        rest = more;
        found.extend(listed(body));
    }
    Ok(found)
}

/// The body of the first message, and what comes after it.
fn next_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = word(bytes, 0)? as usize;
    let body = bytes.get(HEADER..length)?;
    Some((body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// A filter; `None` for the head of a priority, which comes before its filters.
fn listed(body: &[u8]) -> Option<Listed> {
    let handle = word(body, 8)?;
    let attributes = body.get(TC..)?;
    let options = attribute(attributes, OPTIONS)?;
    let name = attribute(options, BPF_NAME).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let filter = Filter {
        ifindex: word(body, 4)?,
        handle,
        info: word(body, 16)?,
        program: attribute(options, BPF_ID).and_then(|id| word(id, 0)).unwrap_or_default(),
    };
    (handle != 0).then(|| Listed { filter, name: String::from_utf8_lossy(name).into_owned() })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

/// The first attribute of a kind.
fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let head = word(rest, 0)?.to_ne_bytes();
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & !NESTED == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Values are some bytes, or a path: far below 64 KiB.
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A request; its length is written when it is sent.
struct Message(Vec<u8>);

impl Message {
    /// `numbers`: interface, handle, parent, info.
    fn new(kind: u16, flags: u16, numbers: [u32; 4]) -> Self {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence number and port: one request a socket.
        bytes.resize(HEADER, 0);
        // Family: unspecified.
        bytes.extend([0; 4]);
        bytes.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        put_attribute(&mut self.0, kind, value);
    }
}

/// Sends a request on a socket of its own; the messages of the answer.
fn ask(message: &Message) -> io::Result<Vec<u8>> {
    let mut bytes = message.0.clone();
    let length = (bytes.len() as u32).to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    let socket = socket()?;
    // SAFETY: the buffer is readable for its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = Vec::new();
    loop {
        let mut buffer = vec![0_u8; 1 << 16];
        // SAFETY: the buffer is writable for its length.
        let received =
            unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        let mut rest = &buffer[..received];
        while let Some((body, more)) = next_message(rest) {
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(answer),
                libc::NLMSG_ERROR => {
                    let number = word(body, 0).unwrap_or_default().cast_signed();
                    return if number == 0 {
                        Ok(answer)
                    } else {
                        Err(io::Error::from_raw_os_error(-number))
                    };
                }
                _ => answer.extend(&rest[..rest.len() - more.len()]),
            }
            rest = more;
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no address is passed.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_it_is_asked_for() {
        let name = "xlb /sys/fs/bpf/xlb";
        let fd = std::io::stdin();
        let program = std::os::fd::AsFd::as_fd(&fd);
        let message = filter(0, [7, 1, INGRESS, 0x0300 | 49_152 << 16], program, name);
        let read = listed(&message.0[HEADER..]).unwrap();
        assert_eq!(read.name, name);
        let info = 0x0300 | 49_152 << 16;
        assert_eq!(read.filter, Filter { ifindex: 7, handle: 1, info, program: 0 });
    }

    #[test]
    fn heads_of_priorities_and_short_messages_are_no_filters() {
        let head = Message::new(NEW_FILTER, 0, [7, 0, INGRESS, 1]);
        assert!(listed(&head.0[HEADER..]).is_none());
        for length in 0..HEADER + TC {
            assert!(listed(&head.0[..length]).is_none());
            assert!(attribute(&head.0[..length], 9).is_none());
        }
    }
}
