# charrnn in bash 5: Alt-; completes what stands before the cursor with the likeliest word; pressed
# again it takes the next one instead, and behind the last there is what was typed. In ~/.bashrc:
#
#     export CHARRNN_MODEL=~/runs/mails    # or it is the newest run under ./checkpoints
#     eval "$(charrnn complete --print-shell bash)"
#
# Without a suggestion, or with an error, the line stays as it is; charrnn complete tells why.

_charrnn_typed='' _charrnn_found=()

_charrnn_complete() {
    local before=${READLINE_LINE:0:READLINE_POINT} after=${READLINE_LINE:READLINE_POINT}
    if ((${#_charrnn_found[@]})) && [[ $before == "$_charrnn_typed${_charrnn_found[0]}" ]]; then
        _charrnn_found=("${_charrnn_found[@]:1}" "${_charrnn_found[0]}")
    else
        _charrnn_typed=$before
        # Behind a blank: the suggestions would be for that.
        mapfile -t _charrnn_found < <(
            charrnn complete --insert -- "${before##*___}" 2>/dev/null </dev/null
        )
        ((${#_charrnn_found[@]})) || return
        _charrnn_found+=('')
    fi
    READLINE_LINE=$_charrnn_typed${_charrnn_found[0]}$after
    READLINE_POINT=$((${#_charrnn_typed} + ${#_charrnn_found[0]}))
}

bind -x '"\e;": _charrnn_complete'
