//! Pictures of a request: `data:` URLs. No address is ever fetched.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use crossloom_data::image::{Image, ImageLimits};

use super::json::Text;
use crate::error::Problem;

/// Standard base64, with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A picture as a request names it.
#[derive(Debug)]
pub(crate) struct PictureUrl<'a> {
    /// The field that it stands in.
    pub(crate) param: String,
    /// What stands there.
    pub(crate) url: Text<'a>,
}

impl PictureUrl<'_> {
    /// The picture, if it has at most so many pixels. What the URL says of its type is not believed: the bytes decide.
    ///
    /// # Errors
    /// Another kind of URL, broken base64, no PNG or JPEG, a damaged or incomplete one, or one with more pixels.
    pub(crate) fn decode(&self, most_pixels: u64) -> Result<Image, Problem> {
        let wrong = |message: String| Problem::new(&self.param, message);
        let bytes = self.bytes().map_err(wrong)?;
        let limits = ImageLimits { max_pixels: most_pixels, ..ImageLimits::default() };
        Image::decode(&bytes, "data URL", &limits).map_err(|error| wrong(error.to_string()))
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        const SCHEME: &str = "data:";
        let needed = "a picture is given as data:image/png;base64,… or data:image/jpeg;base64,…";
        let rest = match self.url.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            _ => return Err(format!("this is no data URL, and no other address is fetched; {needed}")),
        };
        let (head, data) =
            rest.split_once(',').ok_or_else(|| format!("the data URL has no comma; {needed}"))?;
        let mut said = head.split(';');
        let media = said.next().unwrap_or_default().trim();
        if !media.to_ascii_lowercase().starts_with("image/") {
            return Err(format!("the data URL says it is {media:?}, which is no picture; {needed}"));
        }
        if !said.any(|word| word.trim().eq_ignore_ascii_case("base64")) {
            return Err(format!("the data URL is not in base64; {needed}"));
        }
        BASE64.decode(data.trim()).map_err(|error| format!("the data URL is no base64: {error}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn decoded(url: &str) -> Result<Image, String> {
        let picture = PictureUrl { param: "here".to_owned(), url: Text(url.into()) };
        picture.decode(100).map_err(|problem| problem.message)
    }

    fn png(width: u32, height: u32) -> String {
        let image = Image::new(width, height, vec![7; (width * height * 3) as usize]).unwrap();
        BASE64.encode(image.to_png().unwrap())
    }

    #[test]
    fn the_bytes_say_what_a_picture_is() {
        for head in
            ["data:image/png;base64,", "DATA:IMAGE/JPEG;BASE64,", "data:image/webp; charset=x; base64,"]
        {
            let image = decoded(&format!("{head}{}", png(4, 5))).unwrap();
            assert_eq!((image.width(), image.height()), (4, 5));
        }
        let bare = png(4, 5).trim_end_matches('=').to_owned();
        assert!(decoded(&format!("data:image/png;base64,{bare}")).is_ok(), "padding may be left out");
    }

    #[test]
    fn what_is_no_picture_is_refused_with_a_reason() {
        let whole = png(4, 5);
        let cases = [
            ("https://example.org/a.png".to_owned(), "no other address is fetched"),
            ("file:///etc/passwd".to_owned(), "no other address is fetched"),
            ("dat\u{e9}:".to_owned(), "no data URL"),
            (String::new(), "no data URL"),
            ("data:image/png;base64".to_owned(), "no comma"),
            ("data:text/html;base64,AA==".to_owned(), "no picture"),
            ("data:image/png,%89PNG".to_owned(), "not in base64"),
            ("data:image/png;base64,@@@".to_owned(), "no base64"),
            ("data:image/png;base64,".to_owned(), "truncated"),
            (format!("data:image/png;base64,{}", &whole[..whole.len() / 8 * 4]), "truncated"),
            ("data:image/png;base64,R0lGODlhAQABAAAAACw=".to_owned(), "not a format"),
            (format!("data:image/png;base64,{}", png(11, 10)), "110 pixels; the limit is 100"),
        ];
        for (url, reason) in cases {
            let told = decoded(&url).unwrap_err();
            assert!(told.contains(reason), "{url}: {told}");
        }
    }
}
