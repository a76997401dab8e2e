//! `lb_kind`, `lvs_method`, `sorry_server_lvs_method`. keepalived-spec sections 7 and 12a.

use super::super::ast::Statement;
use super::super::model::{Kind, Tunnel, TunnelChecksum};
use super::draft::Forwarding;
use super::extension;
use super::values::{Out, bad_value, uint};

const KINDS: [&str; 5] = ["NAT", "DR", "TUN", "FNAT", "FULLNAT"];

/// Reads a forwarding method; reports a bad one.
pub(super) fn read(out: &mut Out, statement: &Statement) -> Option<Forwarding> {
    let word = statement.argument(0)?;
    let kind = match word {
        "NAT" => Kind::Nat,
        "DR" => Kind::Dr,
        "TUN" => Kind::Tun,
        "FNAT" | "FULLNAT" => Kind::FullNat,
        _ => {
            out.push(
                bad_value(statement, 0, "NAT, DR, TUN or FNAT, in capitals").suggest(word, KINDS),
            );
            return None;
        }
    };
    if kind == Kind::FullNat {
        out.push(extension(word, statement.argument_span(0)));
    }
    match tunnel(statement) {
        Ok(tunnel) if kind == Kind::Tun || tunnel.is_none() => {
            Some(Forwarding { kind, tunnel: tunnel.unwrap_or(Tunnel::Ipip) })
        }
        Ok(_) => {
            out.push(bad_value(statement, 1, "nothing more: only TUN takes options"));
            None
        }
        Err((index, expected)) => {
            out.push(bad_value(statement, index, expected));
            None
        }
    }
}

/// The options after the kind; an error names the word and what was expected.
fn tunnel(statement: &Statement) -> Result<Option<Tunnel>, (usize, &'static str)> {
    let mut form = None;
    let mut port = None;
    let mut checksum = None;
    let mut at = 1;
    while let Some(word) = statement.argument(at) {
        match word {
            "type" => {
                at += 1;
                form = Some(statement.argument(at).ok_or((at, "ipip, gue or gre"))?);
            }
            "port" => {
                at += 1;
                let number =
                    statement.argument(at).and_then(uint).and_then(|port| u16::try_from(port).ok());
                port = Some(number.filter(|port| *port > 0).ok_or((at, "a port from 1 to 65535"))?);
            }
            "nocsum" => checksum = Some((at, TunnelChecksum::None)),
            "csum" => checksum = Some((at, TunnelChecksum::Full)),
            "remcsum" => checksum = Some((at, TunnelChecksum::Remote)),
            _ => return Err((at, "type, port, nocsum, csum or remcsum")),
        }
        at += 1;
    }
    let sum = checksum.map_or(TunnelChecksum::None, |(_, sum)| sum);
    match (form, port) {
        (None, None) if checksum.is_none() => Ok(None),
        (Some("ipip") | None, None) => match checksum {
            Some((at, _)) => Err((at, "no checksum option with ipip")),
            None => Ok(Some(Tunnel::Ipip)),
        },
        (Some("gue"), Some(port)) => Ok(Some(Tunnel::Gue { port, checksum: sum })),
        (Some("gue"), None) => Err((2, "`gue port P`")),
        (Some("gre"), None) => match (checksum, sum) {
            (Some((at, _)), TunnelChecksum::Remote) => Err((at, "nocsum or csum with gre")),
            _ => Ok(Some(Tunnel::Gre { checksum: sum })),
        },
        (Some("gre" | "ipip") | None, Some(_)) => Err((1, "`port` only with `type gue`")),
        (Some(_), _) => Err((2, "ipip, gue or gre")),
    }
}
