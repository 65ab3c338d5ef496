//! The labels of metrics are ours: Prometheus keeps its own, and renames others of that name.

use super::text::{Source, libraries};

/// Labels that Prometheus itself gives to each series, or to the parts of a histogram.
const OF_PROMETHEUS: [&str; 4] = ["instance", "job", "le", "quantile"];

#[test]
fn no_label_is_one_of_prometheus() {
    let labels: Vec<_> = libraries().iter().flat_map(labels).collect();
    assert!(labels.len() > 15, "{labels:?}");
    for (metric, label) in labels {
        assert!(!OF_PROMETHEUS.contains(&&*label), "{metric} has the label {label}");
    }
}

/// Each label with the name of its metric.
fn labels(source: &Source) -> Vec<(String, String)> {
    let code = source.code();
    let mut labels = Vec::new();
    for of_kind in ["counter!(", "gauge!(", "histogram!("] {
        for call in code.split(of_kind).skip(1) {
            let arguments = call.split_once(';').map_or(call, |(arguments, _)| arguments);
            // Between quotation marks.
            let mut texts = arguments.split('"').skip(1).step_by(2);
            let Some(metric) = texts.next().filter(|name| name.starts_with("pglock_")) else {
                continue;
            };
            let keys = texts.filter(|text| arguments.contains(&format!("\"{text}\" =>")));
            labels.extend(keys.map(|label| (metric.to_owned(), label.to_owned())));
        }
    }
    labels
}

#[test]
fn labels_are_found() {
    let code = "\
fn f() {
    counter!(\"pglock_a\", \"job\" => name(), \"result\" => \"done\").increment(1);
    describe_gauge!(\"pglock_b\", Unit::Count, \"B\");
    histogram!(
        \"pglock_c\",
        \"mode\" => mode
    );
}
";
    let pair = |metric: &str, label: &str| (metric.to_owned(), label.to_owned());
    let expected = [pair("pglock_a", "job"), pair("pglock_a", "result"), pair("pglock_c", "mode")];
    assert_eq!(labels(&Source::new("m.rs", code)), expected);
}
