//! The macros that turn each conformance case into a test, for each backend.

/// Tests a backend. It takes a type that implements [`Fixture`](crate::conformance::Fixture), and
/// the [powers](crate::conformance::Power) that the backend lacks.
///
/// Makes one `#[test]` of each case. Cases that need a missing power are ignored.
#[macro_export]
macro_rules! conformance {
    ($fixture:ty $(, lacks: [$($lack:ident),* $(,)?])? $(,)?) => {
        $crate::__conformance! { ($) $fixture, [$($($lack)*)?] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance {
    (($d:tt) $fixture:ty, [$($lack:ident)*]) => {
        $(const _: $crate::conformance::Power = $crate::conformance::Power::$lack;)*

        // One rule for each missing power; the last one is for all other cases.
        macro_rules! __case {
            $(($d group:ident $d case:ident $lack) => {
                $crate::__ignored_case! { $lack, $fixture, $d group $d case }
            };)*
            ($d group:ident $d case:ident $d ($d power:ident)?) => {
                $crate::__case! { [], $fixture, $d group $d case }
            };
        }

        $crate::__each_case! { __case }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __groups {
    ($define:ident $($(#[$system:meta])? $group:ident,)*) => {
        $($(#[$system])? mod $group {
            #[allow(unused_imports)]
            use super::*;

            $crate::$group! { $define }
        })*
    };
}

/// Lists the cases of a group, each with the power that it needs, if any.
///
/// Defines a macro with the name of the group, which passes the list to another macro.
macro_rules! group {
    ($group:ident: $($cases:tt)*) => {
        group! { ($) $group: $($cases)* }
    };
    (($d:tt) $group:ident: $($case:ident $(: $power:ident)?,)*) => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $group {
            ($d define:ident) => { $($d define! { $group $case $($power)? })* };
        }
    };
}

pub(super) use group;

#[doc(hidden)]
#[macro_export]
macro_rules! __case {
    ([$($ignored:tt)*], $fixture:ty, $group:ident $case:ident) => {
        #[test]
        $($ignored)*
        fn $case() {
            const PATH: &str = concat!(module_path!(), "::", stringify!($case));
            $crate::conformance::run::<$fixture>(PATH, |lab| {
                Box::pin($crate::conformance::cases::$group::$case(lab))
            });
        }
    };
}

/// Each reason is written out, because the test runner shows only literals.
#[doc(hidden)]
#[macro_export]
macro_rules! __ignored_case {
    (Sessions, $($case:tt)*) => { $crate::__case! { [#[ignore = "needs Sessions, which the fixture lacks"]], $($case)* } };
    (Engine, $($case:tt)*) => { $crate::__case! { [#[ignore = "needs Engine, which the fixture lacks"]], $($case)* } };
    (Tokens, $($case:tt)*) => { $crate::__case! { [#[ignore = "needs Tokens, which the fixture lacks"]], $($case)* } };
    (Process, $($case:tt)*) => { $crate::__case! { [#[ignore = "needs Process, which the fixture lacks"]], $($case)* } };
    (Postgres, $($case:tt)*) => { $crate::__case! { [#[ignore = "needs Postgres, which the fixture lacks"]], $($case)* } };
}
