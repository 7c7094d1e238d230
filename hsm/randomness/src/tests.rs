//! The tests against published values, against broken generators, and against chance.

mod broken;
mod exact;
mod published;
mod sound;
