//! How long a decision takes: short prompts, long ones, and texts made to be slow.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use tinyclaw_router::{Config, Input, Router};

fn decisions(bench: &mut Criterion) {
    let router = Router::default();
    let short = [
        ("greeting", "good morning"),
        ("question", "how do I squash the last three commits into one?"),
        (
            "design",
            "design the queue so that two workers never take the same message, and prove it",
        ),
        ("han", "深入分析内存泄漏的根本原因，并提出可靠的解决方案"),
        ("accents", "Démontre que racine de 3 est irrationnelle, étape par étape"),
    ];
    let mut group = bench.benchmark_group("short");
    for (name, text) in short {
        group.bench_function(name, |it| it.iter(|| router.decide(black_box(&Input::new(text)))));
    }
    group.finish();

    let mut group = bench.benchmark_group("long");
    let pieces = [
        ("prose", "the quick brown fox jumps over the lazy dog. "),
        ("first", "first "),
        ("markers", "prove the theorem step by step, design a distributed system; "),
        ("han", "证明分布式系统的一致性并分析取舍。"),
        ("accents", "e\u{301}tape par étape "),
        ("hangul", "분산 시스템을 설계하고 증명해 줘 "),
        ("full_width", "ｐｒｏｖｅ　"),
        ("brackets", "[{<\"`"),
        ("lines", "\n"),
        ("zero_width", "\u{200b}a"),
    ];
    for (name, piece) in pieces {
        for characters in [1_000, 10_000, 100_000] {
            let text: String = piece.chars().cycle().take(characters).collect();
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, characters), &text, |it, text| {
                it.iter(|| router.decide(black_box(&Input::new(text))));
            });
        }
    }
    group.finish();

    let huge = "prove it, ".repeat(1_000_000);
    bench.bench_function("ten_megabytes", |it| {
        it.iter(|| router.decide(black_box(&Input::new(&huge))));
    });
    bench.bench_function("build", |it| {
        it.iter(|| Router::new(Config::parse_full(tinyclaw_router::BUILT_IN).expect("valid")));
    });
}

fn main() {
    let brief = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(900));
    let mut bench = brief.configure_from_args();
    decisions(&mut bench);
    bench.final_summary();
}
