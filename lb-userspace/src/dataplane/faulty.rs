//! The fake, failing where it is told to: for tests of retries and of crashes.

use super::fake::{Fake, FakeError};
use super::{Dataplane, MapOp, Snapshot};

/// Fails once, at the n-th operation it is given, counted over all calls.
#[derive(Clone, Debug, Default)]
pub struct Faulty {
    pub inner: Fake,
    /// Operations until the failure; `None`: no failure (any more).
    pub fail_after: Option<usize>,
}

impl Dataplane for Faulty {
    type Error = FakeError;

    fn apply(&mut self, ops: &[MapOp]) -> Result<(), FakeError> {
        for (index, op) in ops.iter().enumerate() {
            match &mut self.fail_after {
                Some(0) => {
                    self.fail_after = None;
                    return Err(FakeError::Told { op: index });
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.inner.apply_one(index, op)?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot, FakeError> {
        self.inner.snapshot()
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::RealId;

    use super::*;

    #[test]
    fn nth_operation_fails_once() {
        let mut faulty = Faulty { fail_after: Some(3), ..Faulty::default() };
        let ops = [MapOp::ResetReal { id: RealId(0) }, MapOp::ResetReal { id: RealId(1) }];
        faulty.apply(&ops).unwrap();
        assert_eq!(faulty.apply(&ops), Err(FakeError::Told { op: 1 }));
        faulty.apply(&ops).unwrap();
        assert_eq!(faulty.inner.log.len(), 5);
    }
}
