//! Evidence: numbers from elsewhere, the bound that no person passes, and an attack.

mod audit;
mod golden;
mod kernels;
mod oracles;
mod sensitivity;
