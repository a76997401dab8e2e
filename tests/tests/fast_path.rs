//! What the established path costs, read from the instructions of the committed object: one look-up in a hash, no
//! function but that for what stands before a transport header (not taken there), and no helper but those that this needs.

use std::collections::BTreeMap;
use std::fmt;

use lb_common::abi::{map, program};
use lb_tests::kernel;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

/// Bytes of an instruction.
const INSTRUCTION: u64 = 8;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_LD | BPF_DW | BPF_IMM`: two instructions long; with a relocation the address of a map.
const LOAD_ADDRESS: u8 = 0x18;
/// The source register of a call of another function of the object.
const PSEUDO_CALL: u8 = 1;

/// Helpers by their number in include/uapi/linux/bpf.h.
mod helper {
    pub(crate) const MAP_LOOKUP: i32 = 1;
    pub(crate) const KTIME: i32 = 5;
    pub(crate) const L4_CSUM_REPLACE: i32 = 11;
    pub(crate) const TAIL_CALL: i32 = 12;
    pub(crate) const REDIRECT: i32 = 23;
    pub(crate) const PERF_EVENT_OUTPUT: i32 = 25;
    pub(crate) const SKB_PULL_DATA: i32 = 39;
    pub(crate) const REDIRECT_MAP: i32 = 51;
    pub(crate) const JIFFIES64: i32 = 118;
}

/// What the established path may call; and what comes before it, for frames that are the other program's.
const ALLOWED: [i32; 4] =
    [helper::MAP_LOOKUP, helper::TAIL_CALL, helper::REDIRECT_MAP, helper::JIFFIES64];

/// The same at tc.
const ALLOWED_AT_TC: [i32; 6] = [
    helper::MAP_LOOKUP,
    helper::TAIL_CALL,
    helper::REDIRECT,
    helper::JIFFIES64,
    helper::L4_CSUM_REPLACE,
    helper::SKB_PULL_DATA,
];

/// What hands captured packets over, and notes when; there while somebody captures.
const SHOWING: [&str; 2] = [program::XDP_SHOW, program::TC_SHOW];

/// What nothing in the object may call, be it on a slow path; [`SHOWING`] may ask for the exact time.
const NOWHERE: [(i32, &str); 8] = [
    (helper::KTIME, "ktime_get_ns"),
    (6, "trace_printk"),
    (69, "fib_lookup"),
    (93, "spin_lock"),
    (94, "spin_unlock"),
    (125, "ktime_get_boot_ns"),
    (130, "ringbuf_output"),
    (160, "ktime_get_coarse_ns"),
];

/// A call in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// Of a helper; and the map whose address was loaded last before it.
    Helper { number: i32, last_map: Option<String> },
    /// Of another function of the object.
    Function,
}

/// A function's instructions, as far as this test looks.
struct Code {
    instructions: u64,
    calls: Vec<Call>,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} instructions; calls:", self.instructions)?;
        self.calls.iter().try_for_each(|call| writeln!(f, "  {call:?}"))
    }
}

/// Names of the symbols that instructions of a section refer to, by the offset of the instruction.
fn references<'d>(
    object: &object::File<'d>,
    section: &object::Section<'d, '_>,
) -> BTreeMap<u64, String> {
    let name = |target| match target {
        RelocationTarget::Symbol(index) => {
            let symbol = object.symbol_by_index(index).expect("a symbol");
            symbol.name().expect("a name").to_owned()
        }
        other => panic!("a relocation to {other:?}"),
    };
    section.relocations().map(|(at, relocation)| (at, name(relocation.target()))).collect()
}

/// The instructions of `section` from `from` on, `size` bytes of them.
fn code(object: &object::File<'_>, section: SectionIndex, from: u64, size: u64) -> Code {
    let section = object.section_by_index(section).expect("a section");
    let references = references(object, &section);
    let data = section.data().expect("bytes");
    let mut code = Code { instructions: size / INSTRUCTION, calls: Vec::new() };
    let (mut at, mut last_map) = (from, None);
    while at < from + size {
        let bytes = &data[at as usize..(at + INSTRUCTION) as usize];
        match (bytes[0], bytes[1] >> 4) {
            (LOAD_ADDRESS, _) => {
                if let Some(name) = references.get(&at) {
                    last_map = Some(name.clone());
                }
                at += INSTRUCTION;
            }
            (CALL, 0) => {
                let number = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
                code.calls.push(Call::Helper { number, last_map: last_map.clone() });
            }
            (CALL, PSEUDO_CALL) => code.calls.push(Call::Function),
            (CALL, other) => panic!("a call of kind {other} at {at:#x}"),
            _ => {}
        }
        at += INSTRUCTION;
    }
    code
}

/// A program's entry function.
fn entry(object: &object::File<'_>, name: &str) -> Code {
    let symbol = object.symbol_by_name(name).unwrap_or_else(|| panic!("no program `{name}`"));
    let section = symbol.section_index().expect("code lies in a section");
    code(object, section, symbol.address(), symbol.size())
}

/// How often the code looks up in a map.
fn look_ups(code: &Code, map: &str) -> usize {
    let wanted = Call::Helper { number: helper::MAP_LOOKUP, last_map: Some(map.to_owned()) };
    code.calls.iter().filter(|call| **call == wanted).count()
}

/// What both shells' entry functions may do.
fn is_lean(program: &str, code: &Code, allowed: &[i32]) {
    let (flows, scratch) = match program {
        program::XDP | program::TC => (map::FLOWS4, "SCRATCH4"),
        _ => (map::FLOWS6, "SCRATCH6"),
    };
    println!("`{program}`: {code}");
    assert_eq!(look_ups(code, flows), 1, "look-ups in {flows}\n{code}");
    for call in &code.calls {
        if let Call::Helper { number, .. } = call {
            assert!(
                allowed.contains(number),
                "helper {number} on the established path, where only {allowed:?} may be\n{code}"
            );
        }
    }
    let functions = code.calls.iter().filter(|call| **call == Call::Function).count();
    assert_eq!(
        functions, 1,
        "calls of functions: that for options and nothing else; another one is often `memset` or `memcpy`, which on \
         this target work byte by byte\n{code}"
    );

    // Every other map there is an array, where the kernel turns the call into a few instructions.
    let arrays = [map::NEXT_HOPS, map::COUNT_REAL, map::REASONS, scratch, "BARE"];
    for call in &code.calls {
        if let Call::Helper { number: helper::MAP_LOOKUP, last_map: Some(name) } = call {
            assert!(
                name == flows || arrays.contains(&name.as_str()),
                "a look-up in {name} on the established path\n{code}"
            );
        }
    }
    assert_eq!(
        count(code, helper::JIFFIES64),
        2,
        "the clock is read once on the established path, and once on the way off it\n{code}"
    );
}

/// How often the code calls a helper.
fn count(code: &Code, number: i32) -> usize {
    let is_it = |call: &&Call| matches!(call, Call::Helper { number: n, .. } if *n == number);
    code.calls.iter().filter(is_it).count()
}

#[test]
fn the_established_path_looks_up_the_flow_once_and_calls_nothing_it_does_not_need() {
    let bytes = kernel::object().expect("the committed object");
    let object = object::File::parse(&*bytes).expect("an ELF file");
    for (program, others) in [(program::XDP, 4), (program::XDP6, 2)] {
        let code = entry(&object, program);
        is_lean(program, &code, &ALLOWED);
        assert_eq!(count(&code, helper::REDIRECT_MAP), 1, "one way out\n{code}");
        assert_eq!(
            count(&code, helper::TAIL_CALL),
            others,
            "what is not established, what wants something in front; the other family, tags\n{code}"
        );
    }
}

// The checksum is the kernel's to move, for it may be half-made: by addresses, and by ports where they change, for TCP
// and for UDP. Headers are pulled where they are out of reach, of ICMP the message, too.
#[test]
fn at_tc_it_calls_the_checksum_helper_and_no_more_than_that() {
    let bytes = kernel::object().expect("the committed object");
    let object = object::File::parse(&*bytes).expect("an ELF file");
    for program in [program::TC, program::TC6] {
        let code = entry(&object, program);
        is_lean(program, &code, &ALLOWED_AT_TC);
        assert!(count(&code, helper::L4_CSUM_REPLACE) <= 4, "{code}");
        assert!(count(&code, helper::SKB_PULL_DATA) <= 2, "{code}");
    }
}

#[test]
fn no_program_logs_locks_or_asks_the_kernel_for_a_route_or_the_exact_time() {
    let bytes = kernel::object().expect("the committed object");
    let object = object::File::parse(&*bytes).expect("an ELF file");
    let showing = SHOWING.map(|name| entry(&object, name));
    let shows = |call: &Call| showing.iter().any(|code| code.calls.contains(call));
    let (mut seen, mut events, mut stamps) = (0, Vec::new(), 0);
    for section in object.sections().filter(|section| section.kind() == object::SectionKind::Text) {
        let all = code(&object, section.index(), 0, section.size());
        seen += all.instructions;
        for call in &all.calls {
            if let Call::Helper { number, last_map } = call {
                stamps += usize::from(*number == helper::KTIME);
                let forbidden = NOWHERE.iter().find(|(helper, _)| {
                    helper == number && (*helper != helper::KTIME || !shows(call))
                });
                assert_eq!(forbidden, None, "in section {:?}", section.name());
                if *number == helper::PERF_EVENT_OUTPUT {
                    events.push(last_map.clone());
                }
            }
        }
    }
    println!("{seen} instructions in the object");
    assert!(seen > 1_000, "the code was found");
    for code in &showing {
        assert_eq!(count(code, helper::KTIME), 1, "{code}");
        assert_eq!(count(code, helper::PERF_EVENT_OUTPUT), 1, "{code}");
    }
    assert_eq!(stamps, SHOWING.len(), "the exact time is noted of captured packets alone");
    // What is written for the daemon: frames that wait for a neighbour; and captured ones, by those two programs.
    let to = |map: &str| events.iter().filter(|to| to.as_deref() == Some(map)).count();
    assert!(to(map::HELD) > 0 && to(map::CAPTURED) == SHOWING.len(), "events to {events:?}");
    assert_eq!(to(map::HELD) + to(map::CAPTURED), events.len(), "events to {events:?}");
}

// Whoever captures puts other programs on the interfaces: in those that are there else no map of a capture is named.
#[test]
fn nobody_who_does_not_capture_looks_at_what_is_captured() {
    let bytes = kernel::object().expect("the committed object");
    let object = object::File::parse(&*bytes).expect("an ELF file");
    let capture = [map::CAPTURE, map::CAPTURE_ROOM, map::CAPTURED];
    let names_one = |program: &str| {
        let code = entry(&object, program);
        code.calls.iter().any(|call| {
            matches!(call, Call::Helper { last_map: Some(map), .. } if capture.contains(&&**map))
        })
    };
    for program in [program::XDP, program::XDP6, program::TC, program::TC6] {
        assert!(!names_one(program), "`{program}`");
    }
    for program in [program::XDP_WATCH, program::XDP_WATCH6, program::TC_WATCH, program::TC_WATCH6]
    {
        assert!(names_one(program), "`{program}`: this test sees nothing");
    }
}

// The loader takes the map's address from the instruction before; this test relies on it, so it is shown to see one.
#[test]
fn the_expiry_program_is_seen_to_look_up_in_both_flow_tables() {
    let bytes = kernel::object().expect("the committed object");
    let object = object::File::parse(&*bytes).expect("an ELF file");
    let code = entry(&object, program::EXPIRE);
    assert!(look_ups(&code, map::FLOWS4) > 1, "{code}");
    assert!(look_ups(&code, map::HALF_OPEN4) > 1, "{code}");
}
