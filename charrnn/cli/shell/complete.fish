# charrnn in fish: Alt-; completes what stands before the cursor with the likeliest word; pressed
# again it takes the next one instead, and behind the last there is what was typed. In
# ~/.config/fish/config.fish:
#
#     set -gx CHARRNN_MODEL ~/runs/mails    # or it is the newest run under ./checkpoints
#     charrnn complete --print-shell fish | source
#
# Without a suggestion, or with an error, the line stays as it is; charrnn complete tells why.

set -g _charrnn_typed ''
set -g _charrnn_found

function _charrnn_complete
    set -l point (commandline --cursor)
    set -l line (commandline --current-buffer | string collect)
    set -l before (string sub --length $point -- $line | string collect)
    set -l after (string sub --start (math $point + 1) -- $line | string collect)
    if set -q _charrnn_found[1]; and test "$before" = "$_charrnn_typed$_charrnn_found[1]"
        set _charrnn_found $_charrnn_found[2..-1] $_charrnn_found[1]
        set before "$_charrnn_typed$_charrnn_found[1]"
        commandline --replace -- "$before$after"
        commandline --cursor (string length -- "$before")
    else
        set _charrnn_typed "$before"
        # Behind a blank: the suggestions would be for that.
        set -l text (string replace --regex -- '(?s).*___' '' "$before" | string collect)
        set _charrnn_found (charrnn complete --insert -- "$text" 2>/dev/null </dev/null)
        set -q _charrnn_found[1]; or return 0
        commandline --insert -- $_charrnn_found[1]
        set -a _charrnn_found ''
    end
end

bind \e\; _charrnn_complete
