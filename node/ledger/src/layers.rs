//! Blocks between execution and durable commit, and what live views need of blocks already committed.
//!
//! A layer holds the rows one block changes, before and after. A view at height h sees
//! 1. the newest layer at or below h that has the row: its value after;
//! 2. else the committed row, read from the engine;
//! 3. unless a layer above h has the row: then the value before, in the lowest such layer. So a commit behind a view's back
//!    changes nothing for it.
//!
//! Step 3 needs the layers above a live view even when they are committed; [`Layers::retire`] keeps exactly those.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bixi_types::H256;

use crate::cache::Row;

/// One row's change.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) old: Row,
    pub(crate) new: Row,
}

/// One prepared block.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) number: u64,
    /// By [`crate::keys::state`] key.
    pub(crate) steps: HashMap<Vec<u8>, Step>,
    pub(crate) accumulator: Arc<[u8]>,
    pub(crate) changes_root: H256,
    pub(crate) state_root: H256,
    pub(crate) header_hash: OnceLock<H256>,
}

/// The layers in order of height, without gaps, and the heights of live views with their number.
#[derive(Default)]
pub(crate) struct Layers {
    layers: Vec<Arc<Layer>>,
    views: BTreeMap<u64, usize>,
}

/// What the layers say about a row at a height.
pub(crate) enum Found<'a> {
    /// Written at or below the height.
    At(&'a Row),
    /// Not written at or below, but above: this was its value before.
    Below(&'a Row),
    /// The committed row holds.
    Nowhere,
}

impl Layers {
    /// The newest layer above `committed`, if any.
    pub(crate) fn top(&self, committed: u64) -> Option<&Arc<Layer>> {
        self.layers.last().filter(|layer| layer.number > committed)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Layer>> {
        let first = self.layers.first()?.number;
        self.layers.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub(crate) fn push(&mut self, layer: Arc<Layer>) {
        assert!(self.layers.last().is_none_or(|last| last.number + 1 == layer.number), "layers have no gaps");
        self.layers.push(layer);
    }

    /// Drops the layers from `number` upwards.
    pub(crate) fn discard_from(&mut self, number: u64) {
        self.layers.retain(|layer| layer.number < number);
    }

    pub(crate) fn find(&self, height: u64, key: &[u8]) -> Found<'_> {
        let split = self.layers.partition_point(|layer| layer.number <= height);
        let (below, above) = self.layers.split_at(split);
        if let Some(step) = below.iter().rev().find_map(|layer| layer.steps.get(key)) {
            return Found::At(&step.new);
        }
        match above.iter().find_map(|layer| layer.steps.get(key)) {
            Some(step) => Found::Below(&step.old),
            None => Found::Nowhere,
        }
    }

    pub(crate) fn enter(&mut self, height: u64) {
        *self.views.entry(height).or_default() += 1;
    }

    pub(crate) fn leave(&mut self, height: u64) {
        let count = self.views.get_mut(&height).expect("a view leaves once, after it entered");
        *count -= 1;
        if *count == 0 {
            self.views.remove(&height);
        }
    }

    /// Forgets the layers that are committed and that no live view is below of.
    pub(crate) fn retire(&mut self, committed: u64) {
        let keep_above = self.views.first_key_value().map_or(committed, |(height, _)| committed.min(*height));
        self.layers.retain(|layer| layer.number > keep_above);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.layers.len()
    }
}
