//! Fixed documents.

/// `/`.
pub(crate) const INDEX: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><title>httpbin</title></head>
<body>
<h1>httpbin</h1>
<p>Answers with what it was asked, and as it was asked to.</p>
<ul>
<li><a href=\"/get\">/get</a>, /post, /put, /patch, /delete, <a href=\"/anything\">/anything</a></li>
<li><a href=\"/headers\">/headers</a>, <a href=\"/ip\">/ip</a>,
    <a href=\"/user-agent\">/user-agent</a>, <a href=\"/cookies\">/cookies</a></li>
<li><a href=\"/status/418\">/status/:code</a>, <a href=\"/delay/1\">/delay/:seconds</a>,
    <a href=\"/redirect/2\">/redirect/:n</a>, <a href=\"/bytes/16\">/bytes/:n</a></li>
</ul>
</body>
</html>
";

/// `/html`.
pub(crate) const HTML: &str = "<!DOCTYPE html>
<html>
<head><title>A page</title></head>
<body>
<h1>Herman Melville - Moby-Dick</h1>
<p>A captain hunts a white whale, and the sea keeps the last word.</p>
</body>
</html>
";

/// `/xml`.
pub(crate) const XML: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>
<!-- A slide show -->
<slideshow title=\"Sample Slide Show\" author=\"Yours Truly\">
  <slide type=\"all\"><title>Of sails</title></slide>
  <slide type=\"all\"><title>Overview</title><item>What a lateen is</item></slide>
</slideshow>
";

/// `/robots.txt`.
pub(crate) const ROBOTS: &str = "User-agent: *\nDisallow: /deny\n";

/// `/deny`.
pub(crate) const DENY: &str = "Robots are asked to stay away from here.\n";

/// `/encoding/utf8`.
pub(crate) const UTF8: &str = "<!DOCTYPE html>
<html>
<head><meta charset=\"utf-8\"><title>Letters</title></head>
<body>
<p>ä é ñ ø ß – Ж Я – α β γ – א ב – ع ر – ह न – 日 本 語 – 한 글 – ∑ ∫ √ – ⛵</p>
</body>
</html>
";
