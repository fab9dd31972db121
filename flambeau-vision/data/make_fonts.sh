#!/bin/sh
# Makes the two small fonts that charts are lettered with: printable ASCII and a few signs of Open Sans.
#   apt-get install fonts-open-sans; pip install fonttools
#   sh make_fonts.sh [FOLDER WITH THE .ttf FILES]
set -eu
from=${1:-/usr/share/fonts/truetype/open-sans}
to=$(dirname "$0")
for weight in Regular Semibold; do
    pyftsubset "$from/OpenSans-$weight.ttf" --output-file="$to/OpenSans-$weight-subset.ttf" \
        --unicodes=U+20-7E,U+B0,U+B1,U+B2,U+B3,U+B5,U+B7,U+D7,U+2013,U+2014,U+2026,U+2212 \
        --no-hinting --desubroutinize --layout-features='' --name-IDs='0,1,2,13,14' --drop-tables+=DSIG
done
