//! Pictures and the page of a run.

use wgrad::train::picture::{Picture, save_gif};
use wgrad::train::report::Report;
use wgrad::train::{Event, Outcome, Progress};

fn decoded(png: &[u8]) -> image::DynamicImage {
    image::load_from_memory(png).unwrap()
}

#[test]
fn a_grid_has_its_pictures_in_rows_with_gaps() {
    // Three pictures of 2x1: two columns, two rows, the last place empty.
    let grid = Picture::grid(&[0.0, 1.0, 0.5, 2.0, -1.0, f32::NAN], [3, 1, 1, 2], 2);
    assert_eq!((grid.width(), grid.height(), grid.channels()), (7, 5, 1));
    let row = |y: usize| (0..7).map(|x| grid.at(x, y)[0]).collect::<Vec<u8>>();
    assert_eq!(row(1), [96, 0, 255, 96, 128, 255, 96]);
    assert_eq!(row(3), [96, 0, 0, 96, 96, 96, 96]);
    assert_eq!(row(0), [96; 7]);
    let stretched = Picture::stretched_grid(&[-3.0, 1.0, 0.0, 0.0], [2, 1, 1, 2], 2);
    assert_eq!((1..6).map(|x| stretched.at(x, 1)[0]).collect::<Vec<u8>>(), [0, 255, 96, 128, 128]);
}

#[test]
fn png_and_gif_decode_to_the_same_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let mut colour = Picture::new(3, 2, 3);
    colour.fill([1, 0, 9, 1], &[255, 0, 10]);
    colour.set(0, 1, &[1, 2, 3]);
    colour.set(9, 9, &[0, 0, 0]);
    let path = folder.path().join("colour.png");
    colour.scaled(2).save(&path).unwrap();
    let read = image::open(&path).unwrap().to_rgb8();
    assert_eq!(read.dimensions(), (6, 4));
    assert_eq!((read[(3, 1)].0, read[(1, 3)].0, read[(0, 0)].0), ([255, 0, 10], [1, 2, 3], [0, 0, 0]));

    let frames = [0.0, 1.0].map(|v| Picture::grid(&[v; 4], [1, 1, 2, 2], 1));
    let path = folder.path().join("film.gif");
    save_gif(&path, &frames, 200).unwrap();
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    use image::AnimationDecoder;
    let read = image::codecs::gif::GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap();
    assert_eq!(read.iter().map(|f| f.buffer()[(1, 1)].0[0]).collect::<Vec<_>>(), [0, 255]);
    assert!(frames[0].save("/no/such/folder/a.png").unwrap_err().to_string().contains("/no/such/folder"));
}

#[test]
fn a_report_is_one_file_with_everything_in_it() {
    let mut report = Report::new("a <test> & more");
    for step in 1..=4u64 {
        let progress = Progress { step: step * 10, of: 40, per_second: 1.0 };
        report.record(&Event::Train(&[("loss".into(), 1.0 / step as f64)]), &progress);
        report.record(&Event::Validation(&[("loss".into(), f64::NAN)], false), &progress);
    }
    let outcome = Outcome { steps: 40, seconds: 2.0, figures: vec![("loss".into(), 0.25)], ..Outcome::default() };
    report.outcome(&outcome).table("Settings", &[("device".into(), "<cpu>".into())]).curves();
    report.confusion("Confusion", &[vec![9, 1], vec![0, 5]]).text("Sample", "if a < b && c");
    report.pictures("Digits", &[("7 taken for 1".into(), Picture::grid(&[0.5; 4], [1, 1, 2, 2], 1))], 2);
    let html = report.html();
    for part in [
        "<title>a &lt;test&gt; &amp; more</title>",
        "50.00 ms per step",
        "&lt;cpu&gt;",
        "if a &lt; b &amp;&amp; c",
        "90.00 %",
        "100.00 %",
        "7 taken for 1",
        "training loss",
        "0.25000",
        ">training<",
        ">validation<",
    ] {
        assert!(html.contains(part), "no {part:?} in: {html}");
    }
    assert!(!html.contains("http") && !html.contains("<script"), "it needs nothing from outside");
    let data = html.split("data:image/png;base64,").nth(1).unwrap().split('"').next().unwrap();
    use base64::Engine as _;
    let png = base64::prelude::BASE64_STANDARD.decode(data).unwrap();
    assert_eq!(decoded(&png).to_luma8()[(1, 1)].0, [128]);
    // Four points make one path of three strokes; NaN makes none.
    let paths: Vec<&str> = html.split("<path d=\"").skip(1).map(|p| p.split('"').next().unwrap()).collect();
    assert!(paths.iter().any(|p| p.matches('L').count() == 3), "{paths:?}");
    assert!(!html.contains("NaN"));
}
