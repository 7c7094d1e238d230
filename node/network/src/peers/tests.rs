//! Networks over real sockets, in one process.

mod hostile;
mod mesh;
mod refusals;
mod world;
