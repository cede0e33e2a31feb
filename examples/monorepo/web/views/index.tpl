<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Two apps, one repository</title>
    <link rel="stylesheet" href="/assets/web.css">
  </head>
  <body>
    <h1>Two apps, one repository</h1>
    <p>This page is one of them, the <a href="{{api}}">service</a> is the other.</p>
    <p>A commit to one of them leaves the other alone.</p>
  </body>
</html>
