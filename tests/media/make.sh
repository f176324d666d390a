#!/bin/sh
# Makes the two sample recordings beside this script. They were made for this project, show no person and contain no
# voice. The files are committed; run this only to change them (needs ffmpeg with libx264).
set -eu
cd "$(dirname "$0")"
quiet="-hide_banner -loglevel error -nostdin -y"
same="-map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact"

# A camera: four seconds of a moving test card with a tone, H.264 and AAC. One key frame a second, so that seeking
# has somewhere to go; the index stands first, as players that seek expect.
# shellcheck disable=SC2086
ffmpeg $quiet -f lavfi -i "testsrc2=size=320x240:rate=15:duration=4" \
    -f lavfi -i "sine=frequency=440:sample_rate=44100:duration=4" \
    -c:v libx264 -profile:v baseline -preset slow -crf 32 -g 15 -pix_fmt yuv420p -threads 1 \
    -c:a aac -b:a 32k $same -movflags +faststart entrance.mp4

# A telephone line: two parties take turns, 8 kHz mono. Each is a stack of harmonics with the rhythm of syllables.
caller="(sin(2*PI*120*t)+0.6*sin(2*PI*240*t)+0.4*sin(2*PI*720*t)+0.2*sin(2*PI*1180*t))"
callee="(sin(2*PI*205*t)+0.6*sin(2*PI*410*t)+0.4*sin(2*PI*860*t)+0.2*sin(2*PI*2050*t))"
turn="between(mod(t\,4)\,0\,2)"
syllables="(1-cos(4.2*2*PI*t))/2"
# shellcheck disable=SC2086
ffmpeg $quiet -f lavfi -i "aevalsrc=0.25*$syllables*($turn*$caller+(1-$turn)*$callee):s=8000:d=8" \
    -c:a pcm_s16le -ac 1 $same call.wav
