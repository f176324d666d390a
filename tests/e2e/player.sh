#!/bin/bash
# player.sh RECORDING ORIGINAL: what a real player does with it, from the start and after jumps, must give the same
# frames and samples as the original file.
set -eu

streams() { ffprobe -v error -show_entries format=duration:stream=codec_name,width,height,sample_rate -of csv "$1"; }
frames() { ffmpeg -nostdin -v error -ss "$2" -i "$1" -frames:v 3 -frames:a 3 -f framemd5 - | grep -v '^#'; }

[ "$(streams "$1")" = "$(streams "$2")" ]
for second in 0 2.5 1 3.2 0.4; do
    [ -n "$(frames "$2" "$second")" ]
    [ "$(frames "$1" "$second")" = "$(frames "$2" "$second")" ]
done
cmp "$1" "$2"
