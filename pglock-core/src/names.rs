//! The names of keys. They stay in this process, since the server gets only numbers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::key::{KeyName, LockKey};

/// The longest name that is shown, in characters.
const SHOWN: usize = 128;

/// The names that locks and guards of one manager currently have.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashMap<LockKey, Weak<Name>>>);

/// The name of a key, registered as long as a lock or guard has it.
pub(crate) struct Name {
    name: KeyName,
    key: LockKey,
    names: Weak<Names>,
}

impl Names {
    /// The name, or as an error a different name that the key already has.
    pub(crate) fn enter(
        self: &Arc<Self>,
        key: LockKey,
        name: &KeyName,
    ) -> Result<Arc<Name>, Arc<Name>> {
        let mut names = self.lock();
        match names.get(&key).and_then(Weak::upgrade) {
            Some(known) if known.name.is_same_as(name) => Ok(known),
            Some(other) => Err(other),
            None => {
                let (name, names_of) = (name.clone(), Arc::downgrade(self));
                let name = Arc::new(Name { name, key, names: names_of });
                names.insert(key, Arc::downgrade(&name));
                Ok(name)
            }
        }
    }

    pub(crate) fn get(&self, key: LockKey) -> Option<Arc<str>> {
        // Not dropped under the lock, which its drop takes.
        let name = self.lock().get(&key).and_then(Weak::upgrade);
        name.map(|name| name.text().clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LockKey, Weak<Name>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    pub(crate) fn text(&self) -> &Arc<str> {
        self.name.text()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Some(names) = self.names.upgrade() {
            let mut names = names.lock();
            // It may have been registered again since.
            if names.get(&self.key).is_some_and(|name| name.strong_count() == 0) {
                names.remove(&self.key);
            }
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shown(self.text()), f)
    }
}

/// A name in displayable form: in one line, cut, and without characters that affect a terminal.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        write!(f, "\"")?;
        for char in rest.by_ref().take(SHOWN) {
            write!(f, "{}", char.escape_debug())?;
        }
        f.write_str(if rest.next().is_some() { "…\"" } else { "\"" })
    }
}

/// A key, behind its name if that is known.
pub(crate) struct ShownKey<'a>(pub(crate) LockKey, pub(crate) Option<&'a str>);

impl fmt::Display for ShownKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(key, Some(name)) => write!(f, "{} ({key})", Shown(name)),
            Self(key, None) => write!(f, "{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_while_it_is_in_use() {
        let names = Arc::new(Names::default());
        let key = LockKey::from(7);
        let name = |text| key.named(text).into_parts().1.unwrap();
        let first = names.enter(key, &name("seven")).unwrap();
        let second = names.enter(key, &name("seven")).unwrap();
        assert!(names.enter(key, &name("another")).is_err());
        drop(first);
        assert_eq!(names.get(key).as_deref(), Some("seven"));
        drop(second);
        assert_eq!(names.get(key), None);
        assert!(names.enter(key, &name("another")).is_ok());
        assert!(names.lock().is_empty());
    }

    #[test]
    fn a_name_cannot_act_on_a_terminal() {
        let shown = Shown("a\nb\u{1b}[31m\u{202e}").to_string();
        assert_eq!(shown, r#""a\nb\u{1b}[31m\u{202e}""#);
        let long = Shown(&"x".repeat(1000)).to_string();
        assert_eq!(long.chars().count(), 131);
    }
}
