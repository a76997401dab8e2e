//! `virtual_server_group`, `local_address_group`, `xlb_mark`. keepalived-spec sections 6 and 12a.

use super::super::ast::Statement;
use super::super::diag::{Code, Diag};
use super::super::keywords::Block;
use super::super::model::{AddressRange, Family, GroupMember, Mark, Protocol};
use super::super::source::Span;
use super::values::{Out, RangeError, bad, bad_value, number32, port, range, uint};
use super::{extension, known};

/// A named list.
#[derive(Clone, Debug)]
pub(super) struct Group<T> {
    pub name: String,
    pub span: Span,
    pub members: Vec<T>,
}

/// All groups; of equal names the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    pub services: Vec<Group<GroupMember>>,
    pub locals: Vec<Group<AddressRange>>,
}

impl Groups {
    pub(super) fn service(&self, name: &str) -> Option<&Group<GroupMember>> {
        self.services.iter().find(|group| group.name == name && !group.members.is_empty())
    }

    pub(super) fn local(&self, name: &str) -> Option<&Group<AddressRange>> {
        self.locals.iter().find(|group| group.name == name && !group.members.is_empty())
    }

    pub(super) fn read_group(&mut self, out: &mut Out, statement: &Statement) {
        let members = statement
            .statements()
            .iter()
            .filter_map(|member| service_member(out, member))
            .collect();
        self.services.push(named(statement, members));
    }

    pub(super) fn read_local(&mut self, out: &mut Out, statement: &Statement) {
        if statement.statements().iter().any(|member| !member.arguments.is_empty()) {
            // DPVS has a block of this name whose members carry a device: not ours.
            out.push(
                Diag::new(
                    Code::UnknownKeyword,
                    statement.keyword.span,
                    "`local_address_group` with ports or devices is another program's; its block is skipped",
                )
                .help("xlb's own group takes addresses only: `IP`, `IP-N` or `IP/PREFIX`"),
            );
            return;
        }
        out.push(extension("local_address_group", statement.keyword.span));
        let members =
            statement.statements().iter().filter_map(|member| addresses(out, member)).collect();
        self.locals.push(named(statement, members));
    }

    pub(super) fn report_empty(&self, out: &mut Out) {
        let services = self.services.iter().filter(|group| group.members.is_empty());
        let locals = self.locals.iter().filter(|group| group.members.is_empty());
        let spans = services.map(|group| (&group.name, group.span));
        for (name, span) in spans.chain(locals.map(|group| (&group.name, group.span))) {
            out.push(Diag::new(
                Code::EmptyGroup,
                span,
                format!("group `{name}` has no members and is dropped"),
            ));
        }
    }
}

fn named<T>(statement: &Statement, members: Vec<T>) -> Group<T> {
    Group { name: statement.argument(0).unwrap_or("").to_owned(), span: statement.span(), members }
}

fn service_member(out: &mut Out, member: &Statement) -> Option<GroupMember> {
    if member.name() == "fwmark" {
        let mark = member.argument(0).and_then(uint).and_then(|mark| u32::try_from(mark).ok());
        let Some(mark) = mark else {
            bad(out, member, 0, "a mark from 0 to 4294967295");
            return None;
        };
        let family = match member.argument(1) {
            None => None,
            Some("inet") => Some(Family::Inet),
            Some("inet6") => Some(Family::Inet6),
            Some(_) => {
                bad(out, member, 1, "inet or inet6");
                return None;
            }
        };
        return Some(GroupMember::Fwmark { mark, family });
    }
    let AddressRange { first, last } = addresses(out, member)?;
    let Some(port) = port(member.argument(0)) else {
        let word = member.argument(0).unwrap_or("");
        let message = format!("`{word}` is not a port; the member is dropped");
        out.push(
            Diag::new(Code::BadAddress, member.argument_span(0), message)
                .label("expected a number from 1 to 65535"),
        );
        return None;
    };
    Some(GroupMember::Addresses { first, last, port })
}

/// The first word as a range; reports otherwise.
fn addresses(out: &mut Out, member: &Statement) -> Option<AddressRange> {
    let word = member.name();
    let span = member.keyword.span;
    match range(word) {
        Ok(range) => Some(range),
        Err(RangeError::Address) => {
            let message = format!("`{word}` is not an address; the member is dropped");
            out.push(
                Diag::new(Code::BadAddress, span, message)
                    .label("expected IP, IP-N, IP-IP or IP/PREFIX"),
            );
            None
        }
        Err(RangeError::Range(why)) => {
            let message = format!("bad range `{word}`: {why}; the member is dropped");
            out.push(Diag::new(Code::BadRange, span, message));
            None
        }
    }
}

/// `xlb_mark N { ... }`.
pub(super) fn read_mark(out: &mut Out, block: &Statement) -> Option<Mark> {
    let number = number32(out, block, 1, u32::MAX)?;
    let mut mark =
        Mark { mark: number, addresses: Vec::new(), protocols: Vec::new(), ports: Vec::new() };
    for statement in block.statements() {
        if !known(out, statement, Block::Mark) {
            continue;
        }
        let word = statement.argument(0).unwrap_or("");
        match statement.name() {
            "address" => match range(word) {
                Ok(range) => mark.addresses.push(range),
                Err(RangeError::Address) => out.push(
                    Diag::new(
                        Code::BadAddress,
                        statement.argument_span(0),
                        format!("`{word}` is not an address"),
                    )
                    .label("expected IP or IP/PREFIX"),
                ),
                Err(RangeError::Range(why)) => out.push(Diag::new(
                    Code::BadRange,
                    statement.argument_span(0),
                    format!("bad range `{word}`: {why}"),
                )),
            },
            "protocol" => match word.to_ascii_uppercase().as_str() {
                "TCP" => mark.protocols.push(Protocol::Tcp),
                "UDP" => mark.protocols.push(Protocol::Udp),
                _ => bad(out, statement, 0, "TCP or UDP"),
            },
            _ => match ports(word) {
                Some(ports) => mark.ports.push(ports),
                None => out.push(bad_value(statement, 0, "a port or A-B, from 1 to 65535")),
            },
        }
    }
    Some(mark)
}

fn ports(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let first = port(Some(first)).filter(|port| *port > 0)?;
    let last = port(Some(last)).filter(|port| *port >= first)?;
    Some((first, last))
}
