//! The operations, ready to be measured: inputs made, buffers filled, one call away.
//!
//! Whoever shows figures (`benches`, the node's `bixi bench crypto`, `examples/speed.rs`) takes them from this list, so that one name
//! means one thing everywhere. Nothing here looks at a clock. Data are public patterns, keys are fresh.

mod sm2;
mod sm3;
mod sm4;

use crate::{Random, cpu};
use std::fmt;

pub use sm2::{ID, Inputs, InputsError, KEYS, MESSAGE, Signed};

/// One operation with its inputs.
pub struct Workload<'a> {
    /// `module::function`, e.g. `sm4::ctr`.
    pub operation: &'static str,
    /// The kernel that serves it in this process.
    pub kernel: &'static str,
    /// What else tells it from others of the same operation, e.g. `("keys", "registered")`.
    pub parameters: Vec<(&'static str, String)>,
    /// Bytes one operation works on; none where operations are what counts.
    pub bytes: Option<usize>,
    /// Operations in one call.
    pub per_call: u32,
    call: Box<dyn FnMut() + 'a>,
}

impl<'a> Workload<'a> {
    /// `selected` is the operation's name in [`cpu::selected`].
    fn new(operation: &'static str, selected: &str, call: impl FnMut() + 'a) -> Self {
        let kernel = cpu::selected().into_iter().find(|kernel| kernel.operation == selected);
        let kernel = kernel.unwrap_or_else(|| panic!("no kernel serves {selected}")).kernel;
        Self { operation, kernel, parameters: Vec::new(), bytes: None, per_call: 1, call: Box::new(call) }
    }

    fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// One more parameter of the name.
    fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.parameters.push((name, value.to_string()));
        self
    }

    /// A call does the operation once for each of `count` `things`.
    fn batch(mut self, things: &'static str, count: u32) -> Self {
        self.per_call = count;
        self.with(things, count)
    }

    /// Does the operation [`Workload::per_call`] times.
    pub fn call(&mut self) {
        (self.call)();
    }
}

impl fmt::Debug for Workload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        self.bytes.iter().try_for_each(|bytes| write!(f, " bytes={bytes}"))?;
        self.parameters.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// Every operation: SM3, SM4, SM2.
pub fn all<R: Random + Clone>(inputs: &Inputs<R>) -> Vec<Workload<'_>> {
    let mut workloads = sm3::all();
    workloads.extend(sm4::all());
    workloads.extend(sm2::all(inputs));
    workloads
}

/// Bytes that are neither secret nor all alike, as every workload's data are.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 31 + 7) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RandomError;
    use std::collections::BTreeSet;

    /// Every filling differs from the one before.
    #[derive(Clone)]
    struct Steps(u8);

    impl Random for Steps {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            self.0 = self.0.wrapping_add(1);
            out.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn every_workload_runs_and_has_a_name_of_its_own() {
        let inputs = Inputs::new(Steps(0)).expect("keys and signatures");
        let mut workloads = all(&inputs);
        let names: BTreeSet<_> = workloads.iter().map(|workload| format!("{workload:?}")).collect();
        assert_eq!(names.len(), workloads.len());
        workloads.iter_mut().for_each(Workload::call);
    }

    #[test]
    fn every_operation_that_selects_a_kernel_has_a_workload() {
        let inputs = Inputs::new(Steps(0)).expect("keys and signatures");
        let modules: BTreeSet<_> = all(&inputs).iter().map(|workload| &workload.operation[..3]).collect();
        let selected: BTreeSet<_> = cpu::selected().iter().map(|selected| &selected.operation[..3]).collect();
        assert_eq!(modules, selected);
    }
}
