// Styles to choose from: plain radio buttons dressed as cards. The value is the style's key.
const mark = () => element.querySelectorAll('input').forEach((radio) => {
  radio.checked = radio.value === props.value;
});
element.addEventListener('change', (event) => { props.value = event.target.value; });
watch('value', mark);
mark();
