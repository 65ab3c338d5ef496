//! The engine: one for all backends.
//!
//! [`machine`] decides and does no I/O; [`runtime`] keeps it behind a mutex, carries out its
//! effects and owns the connections; [`client`] is what handles and guards of locks do. Why
//! it is so stands in `DESIGN.md`.
//!
//! # What is asked of the server for a key
//!
//! One thing at a time: [`machine::key::Ask`]. [`machine::key::KeyState::settle`] is the one place that grants,
//! releases and asks.
//!
//! ```text
//!        a caller wants what is not held here, and the cap on locks may be reached
//!              ┌──────┐ ───────────────────────────────────────► ┌────────┐
//!              │ None │ ◄─────── there is room, or there is none │ Parked │
//!              │      │                                          └────────┘
//!              │      │   a caller wants what is not held here
//!              │      │ ───────────────────────────────────────► ┌────────┐
//!              │      │ ◄────────────────── taken: a grant ───── │  Try   │
//!              └──────┘ ◄── refused, nobody would wait: Busy ─── └────────┘
//!               │    ▲ ▲                                          │   ▲
//!  readers here │    │ │ nobody asks any more               busy, │   │ poll: no waiting
//!  hold it, and │    │ └────────────────────────────┐    a caller │   │ session came free
//!  have long    │    │ free: the readers here       │       waits ▼   │
//!               ▼    │ are renewed                ┌───────────────────────┐
//!             ┌───────┐ ── a writer elsewhere ──► │        InLine         │
//!             │ Probe │    waits (WriterWaits)    │ Busy │ Probe │        │
//!             └───────┘ ◄── a session can ask ─── │          WriterWaits  │
//!                                                 └───────────────────────┘
//!              ┌──────┐                                   │ a waiting session is free
//!              │ None │ ◄── granted: a grant ───── ┌───────────────────────┐
//!              │      │ ◄── failed: an error ──── │         Wait          │ ─┐ the caller left, or
//!              │      │ ◄── read to its end ───── │                       │ ◄┘ other keys in line:
//!              └──────┘ ◄── not confirmed, or ─── └───────────────────────┘    cancelled
//!                           an operator's cancel
//! ```
//!
//! `InLine` means that a waiting session is wanted, or, where waits cannot be cancelled, the next
//! poll: because the lock is busy, or for a probe when no other session can make it, or because a
//! writer waits elsewhere. A session that ends takes its `Try`, `Probe` or `Wait` back to `None`,
//! and what is still wanted is asked again. A cancelled `Wait` that is wanted all the same, because
//! it made room, goes back to `InLine`.
//!
//! # Which key waits in the server's queue
//!
//! With more keys than waiting sessions, they take turns, as [`machine::sessions`] decides. Each session is
//! a lane; with four of them:
//!
//! ```text
//!            ┌────────────┐ in vain ┌──────────┐ in vain ┌──────────┐ in vain ┌────────────┐
//! in line ─► │ lane 0:    │ ──────► │ lane 1:  │ ──────► │ lane 2:  │ ──────► │ lane 3:    │ ─┐
//!            │ half a     │         │ 2 s each │         │ 8 s each │         │ 32 s, then │  │
//!            │ second each│         │          │         │          │         │ 128 s each │ ◄┘
//!            └────────────┘         └──────────┘         └──────────┘         └────────────┘
//! ```
//!
//! A key that has stood in line for a fifth of the shortest turn makes the alarm `Rotate` look for a
//! wait whose turn is over, in the lane of the key or a later one. That wait is cancelled, and its
//! key goes to the end of the line for the next lane. A lane for which no key is in line takes one
//! that waits for another lane, which has its own turn there, but not a longer one than the lane's
//! if a key comes for which the lane is meant. A grant, or that no caller is left, brings a key back
//! to lane 0. A session that has held what it waited for during a turn becomes a shared one, if the
//! bounds allow it, and another session waits in its place; otherwise it is no lane meanwhile.
//!
//! # What the server has granted
//!
//! [`machine::key::Grant`]s, and their [`machine::key::Release`]:
//!
//! ```text
//!             last guard gone                  in a statement             the server says so
//! Release::No ────────────────► Release::Queued ──────────────► Release::Sent ──────────────► gone
//!      ▲                              │ ▲                             │
//!      └── the next caller here ──────┘ └───── it failed: once more ──┘
//! ```
//!
//! If it fails again, alone in its statement, it is `Release::Refused` until an alarm makes it `No`.
//!
//! With [`Config::share_write_locks`], readers here may have a write lock, and their
//! [`machine::key::conversion::Conversion`] is:
//!
//! ```text
//!               a writer here waits              it has gone, or
//!             ┌─────────────────────► ┌─────────┐ the hold is old
//! ┌────┐ ─────┘                       │ Watched │ ───────────────┐
//! │ No │                              └─────────┘                ▼
//! │    │       no writer here waits, or the hold is old     ┌────────┐
//! │    │ ─────────────────────────────────────────────────► │ Queued │
//! │    │ ◄───────────── the readers have gone ───────────── └────────┘
//! │    │                                                         │ in a statement
//! │    │                                        done             ▼
//! │    │ ◄───────────────────────────────────────────────── ┌────────┐
//! │    │                         ┌─────────┐    it failed   │  Sent  │
//! └────┘ ◄───── once more ────── │ Refused │ ◄───────────── └────────┘
//!                                └─────────┘
//! ```
//!
//! # What a session does
//!
//! Its [`machine::session::Phase`]:
//!
//! ```text
//! ┌─────────┐ its turn  ┌─────────┐ all is in order ┌──────┐  operations  ┌─────────┐
//! │ Planned │ ────────► │ Opening │ ──────────────► │ Idle │ ───────────► │ Running │
//! └─────────┘           └─────────┘                 │      │ ◄── done ─── └─────────┘
//!                                                   │      │      a wait    │      │ a batch failed,
//! ┌─────────┐      idle for long, or no more        │      │      failed    ▼      │ or a wait was
//! │ Closing │ ◄──── to be used, or all is closed ── │      │           ┌─────────┐ │ granted late
//! └─────────┘                                       │      │ ◄──────── │ CleanUp │ │
//!                                                   │      │ all free  └─────────┘ │
//! ┌─────────┐ ◄──── somebody wants to look ──────── │      │                       ▼
//! │ Looking │       or check                        │      │  heartbeat   ┌───────────┐
//! └─────────┘ ───── seen ─────────────────────────► │      │ ───────────► │ Reconcile │
//!                                                   └──────┘ ◄── settled ─└───────────┘
//! ```
//!
//! A refused statement of several operations is settled by `Reconcile`: what was not done goes out
//! again in smaller statements, until the operation at fault is alone. A wait that nobody here
//! wants is cancelled, or, where the role may not, its session goes to `Closing` from `Running`.
//!
//! From each of them a session may end: by its connection, by its lease, or because its state is in
//! doubt. Then all its guards have lost their locks.

mod client;
mod machine;
mod runtime;

pub(crate) use client::{AnyDriver, Client, Held};
pub(crate) use machine::Obstacle;
pub(crate) use machine::config::Config;
pub use machine::config::WaitStrategy;
pub(crate) use machine::event::Patience;
pub use machine::stats::Stats;
pub(crate) use runtime::tasks::Settings;
