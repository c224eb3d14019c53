"""`laminar view DATA`: recordings on one page, with pictures, curves and a list of episodes.

    content    what is on the page, as plain values
    film       pictures, as small and as many as the page may hold
    page       the page, put together of these and of viewer.html, viewer.css and viewer.js

The page needs no network and no server. What comes from the data is JSON, and the script shows it as text, never as
HTML.
"""
