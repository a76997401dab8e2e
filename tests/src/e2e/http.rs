//! As much of HTTP as curl needs: a page to fetch, and a place to post to.

use std::io::{self, BufRead, Write};

use super::server::{Checker, pattern};

/// Bytes of the page, the beginning of [`pattern`].
pub const PAGE: usize = 1_000_000;

/// Answers a request whose first line was read; the connection ends with it.
pub(super) fn answer(
    request: &str,
    reader: &mut impl BufRead,
    mut stream: impl Write,
) -> io::Result<()> {
    let mut length = 0;
    for line in reader.by_ref().lines() {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut checker = Checker::default();
    checker.check(&body)?;
    let posted = format!("{}\n", checker.seen);
    let answer = if request.starts_with("GET ") { &pattern()[..PAGE] } else { posted.as_bytes() };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    )?;
    stream.write_all(answer)
}
