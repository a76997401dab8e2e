//! The bytes of a frame that a program may touch directly: what both shells share.

use lb_common::wire::Wire;

/// Offsets in a frame: what the verifier must know before it lets one be added to a packet's pointer.
const FAR: usize = 0x7fff;

/// The bytes between `data` and `data_end` of a context, read from it once: its pointers change only where a helper
/// changes the frame, and then they are read again.
#[derive(Clone, Copy)]
pub struct Window {
    start: usize,
    end: usize,
}

impl Window {
    /// From the context's two pointers.
    #[inline(always)]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Where they start.
    #[inline(always)]
    pub fn start(&self) -> usize {
        self.start
    }

    /// How many bytes there are.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// As [`Self::at`], at an offset that is only known when the program runs.
    #[inline(always)]
    pub fn far<T: Wire>(&self, off: usize) -> Option<&T> {
        // SAFETY: as in `at`.
        self.somewhere(off, size_of::<T>()).map(|from| unsafe { &*(from as *const T) })
    }

    /// As [`Self::at_mut`], at an offset that is only known when the program runs.
    #[inline(always)]
    pub fn far_mut<T: Wire>(&mut self, off: usize) -> Option<&mut T> {
        // SAFETY: as in `at_mut`.
        self.somewhere(off, size_of::<T>()).map(|from| unsafe { &mut *(from as *mut T) })
    }

    /// The bytes at `off`; `None`: the window ends before.
    #[inline(always)]
    pub fn at<T: Wire>(&self, off: usize) -> Option<&T> {
        let from = self.start + off;
        if from + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: `off + size_of::<T>()` lies before `data_end`; `Wire` has alignment 1 and no bad patterns.
        Some(unsafe { &*(from as *const T) })
    }

    /// The same, to be written.
    #[inline(always)]
    pub fn at_mut<T: Wire>(&mut self, off: usize) -> Option<&mut T> {
        let from = self.start + off;
        if from + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `at`; the frame is this run's alone.
        Some(unsafe { &mut *(from as *mut T) })
    }

    /// The start of `size` bytes at an offset that is only known when the program runs.
    ///
    /// The sum is hidden from the optimiser: it would compare it with `end - size`, and arithmetic on the end of a
    /// packet is refused.
    #[inline(always)]
    fn somewhere(&self, off: usize, size: usize) -> Option<usize> {
        if off > FAR {
            return None;
        }
        // Said once more in a way that survives the optimiser and the stack.
        let off = core::hint::black_box(off) & FAR;
        let from = core::hint::black_box(self.start + off);
        (from + size <= self.end).then_some(from)
    }
}
