//! Words to values: numbers, times, addresses. keepalived-spec section 3, "Value types".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::model::{AddressRange, Family};

/// Largest time keepalived's timers take, in microseconds.
pub(super) const LONGEST: u64 = u64::MAX - 1;
/// Largest `connect_timeout`, in microseconds.
pub(super) const LONGEST_CONNECT: u64 = 4_294_967_295;

/// Collects what lowering has to say.
pub(super) type Out = Vec<Diag>;

/// A bad value of a statement's argument, with what was expected.
pub(super) fn bad(out: &mut Out, statement: &Statement, index: usize, expected: &str) {
    out.push(bad_value(statement, index, expected));
}

/// The same as a diagnostic still to be extended.
pub(super) fn bad_value(statement: &Statement, index: usize, expected: &str) -> Diag {
    let name = statement.name();
    let span = statement.argument_span(index);
    match statement.argument(index) {
        Some(word) => Diag::new(
            Code::BadValue,
            span,
            format!("bad value `{word}` for `{name}`; the statement has no effect"),
        ),
        None => Diag::new(
            Code::BadValue,
            span,
            format!("`{name}` has no value; the statement has no effect"),
        ),
    }
    .label(format!("expected {expected}"))
}

/// An unsigned decimal number with an optional plus sign.
pub(super) fn uint(word: &str) -> Option<u64> {
    let digits = word.trim_ascii_start();
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// The first argument as a number in `min..=max`; reports otherwise.
pub(super) fn number(out: &mut Out, statement: &Statement, min: u64, max: u64) -> Option<u64> {
    let value = statement.argument(0).and_then(uint).filter(|value| (min..=max).contains(value));
    if value.is_none() {
        bad(out, statement, 0, &format!("a whole number from {min} to {max}"));
    }
    value
}

/// The same for 32-bit fields.
pub(super) fn number32(out: &mut Out, statement: &Statement, min: u32, max: u32) -> Option<u32> {
    number(out, statement, u64::from(min), u64::from(max))
        .and_then(|value| u32::try_from(value).ok())
}

/// The first argument as seconds with up to six decimals, in `min..=max` microseconds.
pub(super) fn timer(out: &mut Out, statement: &Statement, min: u64, max: u64) -> Option<Duration> {
    let word = statement.argument(0).unwrap_or("");
    let parsed = micros(word).filter(|(micros, _)| (min..=max).contains(micros));
    let Some((micros, rounded)) = parsed else {
        let diag =
            bad_value(statement, 0, &format!("seconds from {} to {}", seconds(min), seconds(max)));
        out.push(if word.ends_with(|c: char| c.is_ascii_alphabetic()) {
            diag.help("times are in seconds and take no unit")
        } else {
            diag
        });
        return None;
    };
    if rounded {
        let span = statement.argument_span(0);
        let message =
            format!("`{word}` has more than six decimals; rounded to {} seconds", seconds(micros));
        out.push(Diag::new(Code::TooPrecise, span, message));
    }
    Some(Duration::from_micros(micros))
}

fn seconds(micros: u64) -> String {
    let (whole, fraction) = (micros / 1_000_000, micros % 1_000_000);
    if fraction == 0 {
        return whole.to_string();
    }
    format!("{whole}.{fraction:06}").trim_end_matches('0').to_owned()
}

/// Microseconds, and whether decimals were lost.
fn micros(word: &str) -> Option<(u64, bool)> {
    let word = word.trim_ascii_start();
    let word = word.strip_prefix('+').unwrap_or(word);
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept: u64 = format!("{:0<6}", &fraction[..fraction.len().min(6)]).parse().ok()?;
    let up = u64::from(fraction.as_bytes().get(6).is_some_and(|digit| *digit >= b'5'));
    let micros = whole.checked_mul(1_000_000)?.checked_add(kept)?.checked_add(up)?;
    Some((micros, fraction.len() > 6))
}

/// The first argument as a boolean; absent is true.
pub(super) fn boolean(out: &mut Out, statement: &Statement) -> Option<bool> {
    match statement.argument(0) {
        None | Some("on" | "true" | "yes") => Some(true),
        Some("off" | "false" | "no") => Some(false),
        Some(_) => {
            bad(out, statement, 0, "one of on, true, yes, off, false, no");
            None
        }
    }
}

/// An address without brackets, zone or port.
pub(super) fn ip(word: &str) -> Option<IpAddr> {
    word.parse().ok()
}

/// A port; absent and all zeros are 0, "none".
pub(super) fn port(word: Option<&str>) -> Option<u16> {
    match word {
        None => Some(0),
        Some(word) => u16::try_from(uint(word)?).ok(),
    }
}

/// `IP [PORT]` from the argument at `index` on; reports otherwise.
pub(super) fn ip_port(
    out: &mut Out,
    statement: &Statement,
    index: usize,
    lost: &str,
) -> Option<(IpAddr, u16)> {
    let address = statement.argument(index)?;
    let Some(ip) = ip(address) else {
        let diag = Diag::new(
            Code::BadAddress,
            statement.argument_span(index),
            format!("`{address}` is not an address; {lost}"),
        )
        .label("expected an IPv4 or IPv6 address");
        out.push(address_help(diag, address));
        return None;
    };
    let Some(port) = port(statement.argument(index + 1)) else {
        let word = statement.argument(index + 1).unwrap_or("");
        out.push(
            Diag::new(
                Code::BadAddress,
                statement.argument_span(index + 1),
                format!("`{word}` is not a port; {lost}"),
            )
            .label("expected a number from 1 to 65535"),
        );
        return None;
    };
    Some((ip, port))
}

fn address_help(diag: Diag, word: &str) -> Diag {
    if word.starts_with('[') {
        diag.help("write IPv6 addresses without brackets")
    } else if word.parse::<std::net::SocketAddr>().is_ok() {
        diag.help("write the port as a word of its own")
    } else if word.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.contains(':') {
        diag.help("host names are not looked up; write the address")
    } else {
        diag
    }
}

/// The family of an address.
pub(super) const fn family(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::Inet,
        IpAddr::V6(_) => Family::Inet6,
    }
}

/// A wrong range: not an address at all, or one whose end is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RangeError {
    Address,
    Range(String),
}

/// `IP`, `IP-N`, `IP1-IP2` or `IP/PREFIX`.
pub(super) fn range(word: &str) -> Result<AddressRange, RangeError> {
    if let Some((base, prefix)) = word.split_once('/') {
        let base = ip(base).ok_or(RangeError::Address)?;
        return block(base, prefix);
    }
    if let Some((first, last)) = word.split_once('-') {
        let first = ip(first).ok_or(RangeError::Address)?;
        return span(first, last);
    }
    let single = ip(word).ok_or(RangeError::Address)?;
    Ok(AddressRange { first: single, last: single })
}

fn block(base: IpAddr, prefix: &str) -> Result<AddressRange, RangeError> {
    let bits: u32 = if base.is_ipv4() { 32 } else { 128 };
    let prefix = uint(prefix).and_then(|prefix| u32::try_from(prefix).ok());
    let prefix = prefix
        .filter(|prefix| (1..=bits).contains(prefix))
        .ok_or_else(|| RangeError::Range(format!("the prefix length must be 1 to {bits}")))?;
    let host = u128::MAX.checked_shr(128 - bits + prefix).unwrap_or(0);
    let number = to_number(base);
    if number & host != 0 {
        return Err(RangeError::Range("bits after the prefix must be 0".to_owned()));
    }
    Ok(AddressRange { first: base, last: from_number(number | host, base.is_ipv4()) })
}

fn span(first: IpAddr, last: &str) -> Result<AddressRange, RangeError> {
    let end = match (ip(last), first) {
        (Some(end), _) if end.is_ipv4() != first.is_ipv4() => {
            return Err(RangeError::Range("both ends must be of one family".to_owned()));
        }
        // `X::Y-1f`: a bare group is no address, so it never gets here.
        (Some(end), _) => {
            if to_number(end) < to_number(first) {
                return Err(RangeError::Range("the end must not be before the start".to_owned()));
            }
            return Ok(AddressRange { first, last: end });
        }
        (None, IpAddr::V4(v4)) => {
            let [a, b, c, start] = v4.octets();
            let end = uint(last).and_then(|end| u8::try_from(end).ok());
            end.filter(|end| *end > start).map(|end| IpAddr::V4(Ipv4Addr::new(a, b, c, end)))
        }
        (None, IpAddr::V6(v6)) => {
            let mut groups = v6.segments();
            let hex = last.len() <= 4 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
            let end = u16::from_str_radix(last, 16).ok().filter(|_| hex);
            end.filter(|end| *end > groups[7]).map(|end| {
                groups[7] = end;
                IpAddr::V6(Ipv6Addr::from(groups))
            })
        }
    };
    let last = end.ok_or_else(|| {
        RangeError::Range(
            "the end must be greater than the start and fit the last part of the address"
                .to_owned(),
        )
    })?;
    Ok(AddressRange { first, last })
}

fn to_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn from_number(number: u128, v4: bool) -> IpAddr {
    if v4 {
        IpAddr::V4(Ipv4Addr::from_bits(number as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(number))
    }
}

#[cfg(test)]
mod tests {
    use super::{RangeError, micros, range, uint};

    #[test]
    fn timers_are_seconds_with_six_decimals() {
        for (word, expected) in [
            ("1.5", Some((1_500_000, false))),
            (".25", Some((250_000, false))),
            ("5.", Some((5_000_000, false))),
            ("+5", Some((5_000_000, false))),
            ("1.0000005", Some((1_000_001, true))),
            ("1.0000004", Some((1_000_000, true))),
            ("5s", None),
            (".", None),
            ("", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(micros(word), expected, "{word}");
        }
    }

    #[test]
    fn numbers_are_decimal_without_rest() {
        for (word, expected) in [
            ("010", Some(10)),
            ("+8", Some(8)),
            (" 5", Some(5)),
            ("-1", None),
            ("0x5", None),
            ("10m", None),
        ] {
            assert_eq!(uint(word), expected, "{word}");
        }
    }

    #[test]
    fn ranges_end_where_they_say() {
        let text = |word: &str| range(word).map(|range| format!("{} {}", range.first, range.last));
        assert_eq!(text("10.0.0.10-12").as_deref(), Ok("10.0.0.10 10.0.0.12"));
        assert_eq!(text("10.0.0.254-10.0.1.1").as_deref(), Ok("10.0.0.254 10.0.1.1"));
        assert_eq!(text("10.0.2.4/30").as_deref(), Ok("10.0.2.4 10.0.2.7"));
        assert_eq!(text("2001:db8::10-1f").as_deref(), Ok("2001:db8::10 2001:db8::1f"));
        assert_eq!(text("2001:db8:1::/126").as_deref(), Ok("2001:db8:1:: 2001:db8:1::3"));
        assert_eq!(text("10.0.0.1/32").as_deref(), Ok("10.0.0.1 10.0.0.1"));
        assert_eq!(text("2001:db8::1/128").as_deref(), Ok("2001:db8::1 2001:db8::1"));
        for word in [
            "10.0.0.20-10",
            "10.0.0.5/30",
            "10.0.0.0/0",
            "10.0.0.0/33",
            "::1-fffff",
            "10.0.0.1-::2",
        ] {
            assert!(matches!(range(word), Err(RangeError::Range(_))), "{word}");
        }
        assert_eq!(range("nonsense"), Err(RangeError::Address));
    }
}
