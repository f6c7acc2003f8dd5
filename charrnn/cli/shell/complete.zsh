# charrnn in zsh: Alt-; completes what stands before the cursor with the likeliest word; pressed
# again it takes the next one instead, and behind the last there is what was typed. In ~/.zshrc:
#
#     export CHARRNN_MODEL=~/runs/mails    # or it is the newest run under ./checkpoints
#     eval "$(charrnn complete --print-shell zsh)"
#
# Without a suggestion, or with an error, the line stays as it is; charrnn complete tells why.

typeset -g _charrnn_typed=''
typeset -ga _charrnn_found=()

charrnn-complete() {
    emulate -L zsh
    if (( $#_charrnn_found )) && [[ $LASTWIDGET == $WIDGET ]]; then
        _charrnn_found=("${(@)_charrnn_found[2,-1]}" "$_charrnn_found[1]")
    else
        _charrnn_typed=$LBUFFER
        # Behind a blank: the suggestions would be for that.
        _charrnn_found=(
            ${(f)"$(charrnn complete --insert -- "${LBUFFER##*___}" 2>/dev/null </dev/null)"}
        )
        (( $#_charrnn_found )) || return 0
        _charrnn_found+=('')
    fi
    LBUFFER=$_charrnn_typed$_charrnn_found[1]
}

zle -N charrnn-complete
bindkey '^[;' charrnn-complete
