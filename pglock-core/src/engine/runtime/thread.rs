//! The thread that runs all engines of this process, except those with a runtime named by the user.

use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use tokio::runtime::{Builder, Handle};

use super::log;
use crate::error::{Error, ErrorKind, Result};

/// The runtime of the engine thread. The thread starts when it is first needed and runs as long as
/// the process.
pub(crate) fn runtime() -> Result<&'static Handle> {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    static START: Mutex<()> = Mutex::new(());
    if let Some(handle) = RUNTIME.get() {
        return Ok(handle);
    }
    let _starting = START.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = RUNTIME.get() {
        return Ok(handle);
    }
    let handle = start().map_err(|error| {
        Error::with_source(
            ErrorKind::NoRuntime,
            "the system refused to start the engine thread, which every lock manager needs: raise the limit of threads",
            error,
        )
    })?;
    Ok(RUNTIME.get_or_init(|| handle))
}

/// The new thread makes the runtime. So if the thread cannot start, there is no runtime to drop,
/// which a caller inside another runtime could not do.
fn start() -> io::Result<Handle> {
    let (give, started) = mpsc::channel();
    thread::Builder::new().name("pglock".to_owned()).spawn(move || {
        let mut builder = Builder::new_current_thread();
        match builder.enable_all().thread_name("pglock-blocking").build() {
            Ok(runtime) => {
                // The caller waits for this.
                let _ = give.send(Ok(runtime.handle().clone()));
                runtime.block_on(pending::<()>());
            }
            Err(error) => {
                let _ = give.send(Err(error));
            }
        }
    })?;
    started.recv().unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Calls functions of the application one after the other, on a thread where they may block or
/// panic without delaying any engine.
pub(crate) fn call_aside(functions: Vec<Box<dyn FnOnce() + Send>>) {
    if functions.is_empty() {
        return;
    }
    // The thread that runs the functions takes them.
    let functions = Arc::new(Mutex::new(functions));
    let call = move || {
        let functions =
            std::mem::take(&mut *functions.lock().unwrap_or_else(PoisonError::into_inner));
        functions.into_iter().for_each(call_function);
    };
    // When loom tries every order of threads, there must be no others.
    let runtime = if cfg!(pglock_loom) { None } else { runtime().ok() };
    let is_spawned = runtime.is_some_and(|runtime| {
        let call = call.clone();
        // tokio panics if the system refuses the thread.
        catch_panic(|| drop(runtime.spawn_blocking(call)))
    });
    if !is_spawned {
        call();
    }
}

fn call_function(function: Box<dyn FnOnce() + Send>) {
    if !catch_panic(function) {
        log::function_panicked();
    }
}

/// Runs foreign code, such as a waker, and keeps its panic from the engine. False if it panicked.
pub(crate) fn catch_panic(act: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(()) => true,
        Err(panic) => {
            // Dropping it might panic, too.
            std::mem::forget(panic);
            false
        }
    }
}
