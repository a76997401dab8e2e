//! Captures: for as long as one lasts, every interface runs the watching program of the same object, over the same maps.
//!
//! Interfaces change their program between two packets, there and back. A daemon that dies meanwhile leaves the watching
//! program, which forwards as the other does; its events go nowhere, and the next start replaces it.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::Ebpf;
use aya::maps::perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer};
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuValues, PerfEventArray};
use lb_common::abi::{CAPTURE_HEAD, CaptureCounts, CaptureFilter, CaptureRoom, CapturedHead, map};
use lb_common::engine::capture::Carried;
use lb_common::engine::{PacketBytes as _, Verdict, is_ipv6};
use lb_common::host::Frame;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::attach::AttachedMode;
use super::error::LoadError;
use super::pins::Pins;
use super::{link, next, sample, shape, sys};

/// Pages of one CPU's buffer: 80 frames of full size, or some thousand headers. A power of two.
const PAGES: usize = 64;

/// Why there is no capture, or why it did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("the object has no {what}; hint: this is a bug of xlb, please report it")]
    Missing { what: &'static str },
    #[error("the CPUs are not known: {0}")]
    Cpus(io::Error),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Buffer(#[from] PerfBufferError),
    #[error("a buffer cannot be watched: {0}")]
    Buffers(io::Error),
    #[error("the watching program is unknown to the kernel: {0}")]
    Program(io::Error),
    #[error("`{interface}` cannot change its program: {cause}")]
    Link { interface: String, cause: io::Error },
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A packet as the program handed it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub head: CapturedHead,
    /// The frame as the program left it, as far as it was taken.
    pub bytes: Vec<u8>,
}

impl Captured {
    fn of_sample(head: &[u8], tail: &[u8]) -> Option<Self> {
        let (head, bytes) = sample::parse(head, tail, |head: &CapturedHead| head.taken)?;
        Some(Self { head, bytes })
    }

    /// What became of it.
    pub fn verdict(&self) -> Verdict {
        Verdict::from_words(self.head.verdict)
    }

    /// Whether it is another packet now: the ICMP error about itself.
    fn is_answer(&self) -> bool {
        self.verdict().leaves() && self.verdict().slot() != 0
    }

    /// The frame as it arrived, as far as it is known: its beginning, and the rest of the frame as it left if the engine
    /// writes into the beginning only.
    pub fn arrived(&self) -> Vec<u8> {
        let kept = (self.head.kept as usize).min(CAPTURE_HEAD);
        let mut frame = self.head.head[..kept].to_vec();
        if self.head.left == self.head.arrived && !self.is_answer() && self.written() <= kept {
            frame.truncate(self.bytes.len());
            frame.extend(self.bytes.iter().skip(frame.len()));
        }
        frame
    }

    /// Behind what byte nothing was written: behind a transport header, wherever extension headers put it.
    fn written(&self) -> usize {
        // No more than the frame's beginning is looked at unless there are such.
        let packet = Frame::new(self.bytes.clone());
        let carried =
            if is_ipv6(&packet) { Carried::by_ipv6(&packet) } else { Carried::by_ipv4(&packet) };
        // Headers end at even offsets: an odd last byte is data, and is not among those that were kept.
        let written = carried.map_or(0, Carried::written).min(packet.len() & !1);
        if self.verdict().leaves() { written } else { 0 }
    }
}

/// Where one CPU's packets arrive.
struct Buffer(PerfEventArrayBuffer<MapData>);

impl AsRawFd for Buffer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A buffer that is watched.
pub struct CaptureBuffer(AsyncFd<Buffer>);

impl CaptureBuffer {
    /// The packets that have come, as soon as there are any.
    pub async fn next(&mut self) -> io::Result<Vec<Captured>> {
        let mut ready = self.0.readable_mut().await?;
        ready.clear_ready();
        drop(ready);
        Ok(self.drain())
    }

    /// The packets that are there now.
    pub fn drain(&mut self) -> Vec<Captured> {
        let mut packets = Vec::new();
        self.0.get_mut().0.for_each(|event| {
            // The program counts those that found no room; the kernel's own word of it adds nothing.
            if let PerfEvent::Sample { head, tail } = event {
                packets.extend(Captured::of_sample(head, tail));
            }
        });
        packets
    }
}

/// The object that an instance runs, for captures to begin and end on.
pub(super) struct Capturing {
    ebpf: Ebpf,
    mode: AttachedMode,
    is_running: bool,
}

impl Capturing {
    pub(super) fn of(ebpf: Ebpf, mode: AttachedMode) -> Self {
        Self { ebpf, mode, is_running: false }
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Begins one; a runtime must be there. The ids of programs that were or are on the interfaces go to `ours`.
    pub(super) fn begin(
        &mut self,
        pins: &Pins,
        filter: CaptureFilter,
        ours: &mut HashSet<u32>,
    ) -> Result<Vec<CaptureBuffer>, CaptureError> {
        let buffers = self.open_buffers()?;
        self.write(filter)?;
        let begun = self.load(ours).and_then(|watching| swap(pins, watching.as_fd(), ours));
        match begun {
            Ok(()) => {
                self.is_running = true;
                Ok(buffers)
            }
            Err(error) => {
                // Those that have it already go back; what is wrong with the others is told.
                let _ = restore(pins, self.mode, ours);
                self.unload();
                Err(error)
            }
        }
    }

    /// Ends it: the interfaces run what they ran before.
    pub(super) fn end(
        &mut self,
        pins: &Pins,
        ours: &mut HashSet<u32>,
    ) -> Result<CaptureCounts, CaptureError> {
        let restored = restore(pins, self.mode, ours);
        // Over in any case: an interface that kept the program goes on without its captures, until the next one ends.
        self.is_running = false;
        self.unload();
        restored?;
        self.counts()
    }

    /// Gives the programs to the kernel, those that are gone on with first.
    fn load(&mut self, ours: &mut HashSet<u32>) -> Result<OwnedFd, CaptureError> {
        next::put(&mut self.ebpf, self.mode.next().0, self.mode.capturing())?;
        let watching = shape::load_program(&mut self.ebpf, self.mode.watching())?;
        ours.insert(sys::program_info(watching.as_fd()).map_err(CaptureError::Program)?.id);
        Ok(watching)
    }

    /// Takes them back. A packet that is on its way there goes out without being shown.
    fn unload(&mut self) {
        // What is not there needs no taking back.
        next::take(&mut self.ebpf, self.mode.next().0, self.mode.capturing());
        shape::unload_program(&mut self.ebpf, self.mode.watching());
    }

    fn open_buffers(&self) -> Result<Vec<CaptureBuffer>, CaptureError> {
        let mut events = events(&self.ebpf, map::CAPTURED)?
            .ok_or(CaptureError::Missing { what: map::CAPTURED })?;
        let cpus = aya::util::online_cpus().map_err(|(_, error)| CaptureError::Cpus(error))?;
        let open = |cpu| {
            let buffer = Buffer(events.open(cpu, Some(PAGES))?);
            // SAFETY: the buffer owns its descriptor and keeps it open until it is dropped, which is never while inside.
            let watched = unsafe { AsyncFd::register_with_interest(buffer, Interest::READABLE) };
            watched.map(CaptureBuffer).map_err(|error| CaptureError::Buffers(error.into()))
        };
        cpus.into_iter().map(open).collect()
    }

    fn write(&mut self, filter: CaptureFilter) -> Result<(), CaptureError> {
        let missing = |what| CaptureError::Missing { what };
        let room = self.ebpf.map_mut(map::CAPTURE_ROOM).ok_or(missing(map::CAPTURE_ROOM))?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| CaptureError::Cpus(error))?;
        let zero: CaptureRoom = bytemuck::Zeroable::zeroed();
        let zeroes = PerCpuValues::try_from(vec![zero; cpus]).map_err(CaptureError::Cpus)?;
        PerCpuArray::try_from(room)?.set(0, zeroes, 0)?;
        let wanted = self.ebpf.map_mut(map::CAPTURE).ok_or(missing(map::CAPTURE))?;
        Ok(Array::try_from(wanted)?.set(0, filter, 0)?)
    }

    fn counts(&self) -> Result<CaptureCounts, CaptureError> {
        let missing = CaptureError::Missing { what: map::CAPTURE_ROOM };
        let room = self.ebpf.map(map::CAPTURE_ROOM).ok_or(missing)?;
        let rooms: PerCpuArray<_, CaptureRoom> = PerCpuArray::try_from(room)?;
        let mut sum = CaptureCounts::default();
        for room in rooms.get(&0, 0)?.iter() {
            sum += room.counts;
        }
        Ok(sum)
    }
}

/// Puts `program` on every interface that is still there, and notes what was on it.
fn swap(pins: &Pins, program: BorrowedFd<'_>, ours: &mut HashSet<u32>) -> Result<(), CaptureError> {
    for link in link::all(pins)? {
        ours.insert(link.program);
        match link.update(pins, program) {
            Ok(()) => {}
            // The interface was deleted; whoever attaches it again takes the pinned program.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
            Err(cause) => {
                return Err(CaptureError::Link { interface: link.interface, cause });
            }
        }
    }
    Ok(())
}

/// Puts the pinned program back.
fn restore(pins: &Pins, mode: AttachedMode, ours: &mut HashSet<u32>) -> Result<(), CaptureError> {
    let path = pins.progs().join(mode.pin());
    let program = sys::open_pin(&path).map_err(LoadError::file("open", path))?;
    swap(pins, program.as_fd(), ours)
}

/// A handle of its own on a map of events: the object's stays open, for programs that are loaded later name it. `None`:
/// there is no such map.
fn events(ebpf: &Ebpf, name: &str) -> Result<Option<PerfEventArray<MapData>>, MapError> {
    let Some(Map::PerfEventArray(data)) = ebpf.map(name) else { return Ok(None) };
    let own = data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
    PerfEventArray::try_from(Map::from_map_data(MapData::from_fd(own)?)?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::abi::{DropReason, PassReason};
    use lb_common::engine::Egress;
    use lb_common::wire::ipv6::Ipv6;

    const FORWARD: Verdict = Verdict::forward(Egress { ifindex: 3, bounce: false });

    fn captured(arrived: &[u8], left: &[u8], taken: usize, verdict: Verdict) -> Captured {
        let mut head: CapturedHead = bytemuck::Zeroable::zeroed();
        let kept = (arrived.len() & !1).min(CAPTURE_HEAD);
        head.head[..kept].copy_from_slice(&arrived[..kept]);
        (head.arrived, head.left) = (arrived.len() as u32, left.len() as u32);
        (head.kept, head.taken) = (kept as u32, taken.min(left.len()) as u32);
        head.verdict = verdict.words();
        Captured { head, bytes: left[..head.taken as usize].to_vec() }
    }

    /// UDP over IPv6 behind a header of options; the rest differs from byte to byte.
    fn udp6(length: usize, options: u8) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        frame[20] = Ipv6::DESTINATION;
        frame[54..56].copy_from_slice(&[17, options]);
        frame
    }

    #[test]
    fn frames_are_put_together_from_their_beginning_and_what_left() {
        for length in [42, 43, 60, 61, 256, 257, 1_514] {
            let arrived: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let mut left = arrived.clone();
            left[..12].fill(0xff);
            let whole = captured(&arrived, &left, 9_216, FORWARD);
            assert_eq!(whole.arrived(), arrived, "{length}");
            let cut = captured(&arrived, &left, 50, FORWARD);
            assert_eq!(cut.arrived(), arrived[..50.min(length)], "{length}");
        }
    }

    #[test]
    fn what_may_have_been_written_behind_the_beginning_is_not_shown_as_if_it_had_come_so() {
        for (options, whole) in [(0, true), (10, true), (30, false), (255, false)] {
            let arrived = udp6(3_000, options);
            let mut left = arrived.clone();
            let ports = 54 + 8 * (usize::from(options) + 1);
            left[ports..ports + 8].fill(0xff);
            let known = captured(&arrived, &left, 9_216, FORWARD).arrived();
            let right = if whole { &arrived[..] } else { &arrived[..CAPTURE_HEAD] };
            assert_eq!(known, right, "{options}");
            // Where it is not forwarded, nothing was written.
            let passed = captured(&arrived, &arrived, 9_216, Verdict::pass(PassReason::NoService));
            assert_eq!(passed.arrived(), arrived, "{options}");
        }
    }

    #[test]
    fn of_a_frame_that_became_an_error_the_beginning_is_left() {
        let answered =
            Verdict::drop(DropReason::NoUsableReal).answered(Egress { ifindex: 3, bounce: false });
        let arrived = vec![7; 1_514];
        let error = captured(&arrived, &[8; 70], 9_216, answered);
        assert_eq!(error.arrived(), vec![7; CAPTURE_HEAD]);
        let arrived = vec![7; 300];
        let error = captured(&arrived, &[8; 300], 9_216, answered);
        assert_eq!(error.arrived(), vec![7; CAPTURE_HEAD], "as long as what it is about");
        let arrived = vec![7; 54];
        assert_eq!(captured(&arrived, &[8; 70], 9_216, answered).arrived(), arrived);
    }

    #[test]
    fn samples_are_read_across_the_buffers_end_and_without_the_kernels_padding() {
        let packet = captured(&[1, 2, 3, 4], b"left", 4, FORWARD);
        let mut sample = bytemuck::bytes_of(&packet.head).to_vec();
        sample.extend(b"left\0\0\0\0");
        for cut in [0, 8, size_of::<CapturedHead>(), sample.len()] {
            assert_eq!(Captured::of_sample(&sample[..cut], &sample[cut..]), Some(packet.clone()));
        }
        assert_eq!(Captured::of_sample(&sample[..100], &[]), None);
    }
}
