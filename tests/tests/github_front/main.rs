//! The front of GitHub that the tests play, held against the emulator and GitHub's own contract.

mod contract;
mod honest;
mod scene;
mod scripted;
