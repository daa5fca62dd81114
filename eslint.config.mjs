import jupyter from '@jupyter/eslint-plugin';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['node_modules', 'labextension/lib', 'mlops_jupyter', '**/*.mjs', 'labextension/style'] },
  ...tseslint.configs.recommended,
  { plugins: { jupyter } },
  ...jupyter.configs.recommended.slice(0, 1),
  {
    files: ['labextension/src/**/*.{ts,tsx}'],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-namespace': 'off', // JupyterLab's way to keep an options interface beside its class
      '@typescript-eslint/no-redeclare': 'off', // a token and its interface share a name
      'jupyter/prefer-lazy-imports': 'off', // the panel is made at the start, so that the layout can be restored
      curly: ['error', 'all'],
      eqeqeq: 'error'
    }
  }
);
